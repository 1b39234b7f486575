package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"

	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/trebuchet-update/tbupdate/sdk/serve"
	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

// serveStock serves with go-plugin's own Serve, in one of the ways that it has.
func serveStock(way string, f *fs) {
	config := &plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue},
		GRPCServer:      plugin.DefaultGRPCServer,
	}
	set := plugin.PluginSet{"fs": serve.FSPlugin(f)}
	config.VersionedPlugins = map[int]plugin.PluginSet{wire.Version: set, 99: set}
	switch way {
	case "plain": // one version, as in go-plugin's first examples
		config.VersionedPlugins, config.Plugins = nil, set
		config.ProtocolVersion = wire.Version
	case "adaptors": // nothing of package serve
		config.VersionedPlugins[wire.Version] = plugin.PluginSet{"any": adaptors{fs: f}}
	case "newer":
		config.VersionedPlugins = map[int]plugin.PluginSet{2: set, 99: set}
	case "tls":
		config.TLSProvider = selfSigned
	}
	plugin.Serve(config)
}

// adaptors registers what package wire makes of an implementation, with the least
// that a session can be.
type adaptors struct {
	plugin.NetRPCUnsupportedPlugin
	fs *fs
}

func (a adaptors) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	wire.RegisterFS(server, a.fs, leastSession{a.fs})
	return nil
}

func (a adaptors) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	panic("this is the server")
}

type leastSession struct{ *fs }

func (leastSession) Cancel() {}

func (s leastSession) Close(context.Context) error { return s.fs.Close() }

// selfSigned makes a certificate that no host knows.
func selfSigned() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}}, nil
}
