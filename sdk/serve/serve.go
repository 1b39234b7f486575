// Package serve runs a plugin: it is the one line in a plugin's main.
//
//	func main() { serve.FS(myfs.New()) }
//
// It keeps what package sdk promises to an implementation and to a host:
//
//   - Methods are called one at a time, in the order of the life cycle.
//   - Close is called exactly once, after the last method has returned, also
//     when the host was killed. Then the process exits.
//   - A method that changes something is never interrupted by the end of the
//     host, by a signal or by a broken connection; its context is cancelled only
//     when the host asks for it.
//   - A panic in a method becomes an error with CodeInternal.
//   - What is printed on standard output goes to standard error, the log.
//
// It speaks go-plugin's protocol for gRPC plugins (docs/internals.md of that
// project) without using its Serve; docs/decisions/0004-serving-plugins.md has the
// reasons. FSPlugin and BootPlugin are for programs that do use it.
package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

// FS serves a filesystem plugin until its host is done with it. It returns when
// the plugin is closed; when it cannot serve it prints why and exits with 1.
func FS(fs sdk.FS) {
	serve(fs, func(r grpc.ServiceRegistrar, s *session) { wire.RegisterFS(r, fs, s) })
}

// Boot serves a boot loader plugin, as FS does.
func Boot(boot sdk.Boot) {
	serve(boot, func(r grpc.ServiceRegistrar, s *session) { wire.RegisterBoot(r, boot, s) })
}

// Limits for a plugin whose host is gone.
const (
	// orphanLimit is how long the call under way may go on before it is
	// cancelled. It is as long as a host grants a changing call.
	orphanLimit = 10 * time.Minute
	// cancelLimit is how long a cancelled call and Close may take before the
	// process exits all the same.
	cancelLimit = time.Minute
	// answerLimit is how long the last answer may take to reach the host.
	answerLimit = 2 * time.Second
)

func serve(implementation sdk.Plugin, register func(grpc.ServiceRegistrar, *session)) {
	if os.Getenv(wire.CookieKey) != wire.CookieValue {
		fmt.Fprintf(os.Stderr, byHand, filepath.Base(os.Args[0]))
		os.Exit(1)
	}
	if err := run(implementation, register); err != nil {
		fmt.Fprintf(os.Stderr, "cannot serve this plugin: %v\n", err)
		os.Exit(1)
	}
}

const byHand = `%s is a plugin of Trebuchet Update and does nothing by itself.
tbupdate starts it when the configuration names it. To see whether it works:
    tbupdate plugins list
    tbupdate plugins check PROGRAM
`

func run(implementation sdk.Plugin, register func(grpc.ServiceRegistrar, *session)) error {
	host, err := takeHost()
	if err != nil {
		return err
	}
	defer host.removeDirectory()
	signals := catchSignals()
	defer signal.Stop(signals)

	session := newSession(implementation)
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(wire.MaxMessage), grpc.MaxSendMsgSize(wire.MaxMessage))
	register(guarded{server, session}, session)
	registerHealth(server)

	listener, err := net.Listen("unix", filepath.Join(host.directory, "socket"))
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if err := host.shakeHands(listener.Addr()); err != nil {
		return err
	}

	select {
	case <-session.closed:
	case <-host.gone(signals):
		host.dropLog()
		closeOrphan(session, orphanLimit, cancelLimit)
	case err := <-served:
		return errors.Join(err, session.Close(context.Background()))
	}
	stop(server)
	return nil
}

// registerHealth makes go-plugin's Ping work.
func registerHealth(server *grpc.Server) {
	h := health.NewServer()
	h.SetServingStatus(plugin.GRPCServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, h)
}

// catchSignals takes the signals that would end a plugin in the middle of a
// change. Caught, not ignored: programs that the plugin starts get the defaults.
//
// SIGPIPE counts among them, since the runtime ends a process that writes to
// standard error when its reader, the host, is gone (package os/signal).
func catchSignals() chan os.Signal {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	return signals
}

// closeOrphan ends the session of a plugin whose host is gone. It cancels the
// call under way when that is too slow, and gives up when that does not help.
func closeOrphan(s *session, orphanLimit, cancelLimit time.Duration) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Close(context.Background()) // nobody is left to be told
	}()
	select {
	case <-done:
		return
	case <-time.After(orphanLimit):
		s.Cancel()
	}
	select {
	case <-done:
	case <-time.After(cancelLimit):
	}
}

// stop lets the answers that are under way reach the host.
func stop(server *grpc.Server) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.GracefulStop()
	}()
	select {
	case <-done:
	case <-time.After(answerLimit):
		server.Stop()
	}
}
