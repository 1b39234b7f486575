package serve

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"time"

	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

// FSPlugin makes of a filesystem plugin what go-plugin's own Serve takes, for a
// program that is built on that. The name in the plugin set does not matter:
//
//	plugin.Serve(&plugin.ServeConfig{
//		HandshakeConfig: plugin.HandshakeConfig{
//			MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue,
//		},
//		VersionedPlugins: map[int]plugin.PluginSet{
//			wire.Version: {"fs": serve.FSPlugin(myfs.New())},
//		},
//		GRPCServer: plugin.DefaultGRPCServer,
//	})
//
// What the package promises holds here as well, for as long as the host lives. When
// it is gone, what the plugin writes to standard error fills a pipe that nobody
// reads and then blocks; FS has no such limit.
func FSPlugin(fs sdk.FS) plugin.Plugin {
	return &goPlugin{implementation: fs, register: func(r grpc.ServiceRegistrar, s *session) { wire.RegisterFS(r, fs, s) }}
}

// BootPlugin does the same for a boot loader plugin.
func BootPlugin(boot sdk.Boot) plugin.Plugin {
	return &goPlugin{implementation: boot, register: func(r grpc.ServiceRegistrar, s *session) { wire.RegisterBoot(r, boot, s) }}
}

// goPlugin implements plugin.GRPCPlugin.
type goPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	implementation sdk.Plugin
	register       func(grpc.ServiceRegistrar, *session)
}

var _ plugin.GRPCPlugin = (*goPlugin)(nil)

// GRPCServer implements plugin.GRPCPlugin. Serve calls it once.
func (g *goPlugin) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	session := newSession(g.implementation)
	g.register(guarded{server, session}, session)
	if os.Getenv(wire.WatchVariable) == "" {
		return nil // the host is another than ours, such as a vendor's test
	}
	host, err := takeWatch()
	if err != nil {
		return err
	}
	go g.outlive(host, session)
	return nil
}

// outlive ends the process when its host is gone, after the session was closed. It
// takes the place of the signals' default, which is to end it in the middle of a
// change.
func (g *goPlugin) outlive(host *host, session *session) {
	signals := catchSignals()
	defer signal.Stop(signals)
	<-host.gone(signals)
	select {
	case <-session.closed:
		// The host has closed the plugin, and tells Serve to return. Should it die
		// before that, this process still has to end.
		time.Sleep(answerLimit)
	default:
		closeOrphan(session, orphanLimit, cancelLimit)
	}
	host.removeDirectory()
	os.Exit(0)
}

// GRPCClient implements plugin.GRPCPlugin. Package launch is the client.
func (g *goPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("cannot be a client")
}
