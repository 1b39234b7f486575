// Package launch starts a plugin program, connects to it and stops it: the
// mechanism that a host and a vendor's tests share. Which program to trust, how
// long to wait and what to tell people is the host's policy, and not here.
//
// A process started here
//
//   - is the file that the caller opened, executed through its descriptor;
//   - has a session of its own, so that no Ctrl-C of a terminal reaches it;
//   - has an environment of fixed content and inherits no descriptors but
//     standard error, a pipe that shows the end of the host, and its program;
//   - gets SIGTERM from the kernel when the host dies;
//   - leaves nothing behind: its directory is removed, and helper processes
//     that survive it are killed.
package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	hclog "github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

// Config says what to start and how.
type Config struct {
	// Program is open for reading. Start does not close it.
	Program *os.File
	// Path is what the program is called: its argv[0].
	Path string
	// RunDirectory is an existing directory, in which the process gets a
	// private one. Its path is at most 60 bytes long, since a socket's address
	// has room for 107.
	RunDirectory string
	// StartTimeout limits the time until the plugin is served; 0 means 10 s.
	StartTimeout time.Duration
	// CancelGrace is how long a call that was cancelled may go on before it is
	// abandoned, by whether it changes something; 0 means 10 s for one that
	// does not and 5 min for one that does.
	CancelGrace, ChangeCancelGrace time.Duration
	// Log gets what the plugin writes on standard error, line by line; nil
	// drops it. It is called once at a time.
	Log io.Writer
	// Unary and Stream, where set, see every call first.
	Unary  grpc.UnaryClientInterceptor
	Stream grpc.StreamClientInterceptor
}

// Defaults of Config.
const (
	defaultStartTimeout      = 10 * time.Second
	defaultCancelGrace       = 10 * time.Second
	defaultChangeCancelGrace = 5 * time.Minute
	// maxRunDirectory leaves room for the private directory's name and the
	// socket's in sockaddr_un.sun_path (unix(7)).
	maxRunDirectory = 60
)

// Process is a running plugin.
type Process struct {
	config    Config
	directory string
	child     *child
	client    *plugin.Client
	conn      *grpc.ClientConn
	log       *tail
	turn      chan struct{} // holds a token while no unary call is under way
	stopOnce  sync.Once
	stopErr   error
}

// Start starts the program and shakes hands with it. When it fails nothing is
// left running. The errors say what the plugin did, without naming it; LastLines
// of a *StartError has what it wrote.
func Start(ctx context.Context, config Config) (*Process, error) {
	setDefaults(&config)
	if len(config.RunDirectory) > maxRunDirectory {
		return nil, fmt.Errorf("cannot make a socket in %s: the path is longer than %d bytes", config.RunDirectory, maxRunDirectory)
	}
	directory, err := os.MkdirTemp(config.RunDirectory, "plugin-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a directory for the plugin: %w", err)
	}
	p := &Process{config: config, directory: directory, log: &tail{next: config.Log}, turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	if p.child, err = newChild(config.Program, config.Path, directory); err != nil {
		wire.RemovePrivateDirectory(directory)
		return nil, err
	}
	p.client = plugin.NewClient(p.clientConfig())
	if err := p.connect(ctx); err != nil {
		p.release()
		return nil, &StartError{Problem: p.child.diagnose(ctx, err, config.StartTimeout), LastLines: p.LastLines()}
	}
	return p, nil
}

func setDefaults(c *Config) {
	setDefault(&c.StartTimeout, defaultStartTimeout)
	setDefault(&c.CancelGrace, defaultCancelGrace)
	setDefault(&c.ChangeCancelGrace, defaultChangeCancelGrace)
	if c.Log == nil {
		c.Log = io.Discard
	}
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

func (p *Process) clientConfig() *plugin.ClientConfig {
	unary := []grpc.UnaryClientInterceptor{p.forwardCancel}
	if p.config.Unary != nil {
		unary = []grpc.UnaryClientInterceptor{p.config.Unary, p.forwardCancel}
	}
	options := []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage), grpc.MaxCallSendMsgSize(wire.MaxMessage)),
		grpc.WithChainUnaryInterceptor(unary...),
	}
	if p.config.Stream != nil {
		options = append(options, grpc.WithStreamInterceptor(p.config.Stream))
	}
	return &plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue},
		VersionedPlugins: map[int]plugin.PluginSet{wire.Version: {dispensed: connection{}}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		RunnerFunc: func(_ hclog.Logger, spec *commandSpec, _ string) (runner.Runner, error) {
			p.child.takeEnvironment(spec.Env)
			return p.child, nil
		},
		SkipHostEnv:  true,
		StartTimeout: p.config.StartTimeout,
		Stderr:       p.log,
		// Where a plugin's output arrives that is served by go-plugin's own Serve.
		SyncStdout:       p.log,
		SyncStderr:       p.log,
		Logger:           hclog.NewNullLogger(),
		GRPCDialOptions:  options,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.directory},
	}
}

// dispensed is the only name under which something is dispensed: what a plugin
// serves is told apart by Describe.
const dispensed = "plugin"

// connection makes go-plugin hand out the gRPC connection itself.
type connection struct{ plugin.NetRPCUnsupportedPlugin }

func (connection) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("cannot serve with a client")
}

func (connection) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

func (p *Process) connect(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = p.child.Kill(ctx) })()
	protocol, err := p.client.Client()
	if err != nil {
		return err
	}
	conn, err := protocol.Dispense(dispensed)
	if err != nil {
		return err
	}
	p.conn = conn.(*grpc.ClientConn)
	return ctx.Err()
}

// Plugin gives a client of what both kinds have in common.
func (p *Process) Plugin() *wire.Plugin { return wire.NewPlugin(p.conn) }

// FS gives a client of a plugin of kind fs. Its Close is Stop without a limit.
func (p *Process) FS() sdk.FS { return fsProcess{FS: wire.NewFS(p.conn), process: p} }

// Boot gives a client of a plugin of kind boot. Its Close is Stop without a
// limit.
func (p *Process) Boot() sdk.Boot { return bootProcess{Boot: wire.NewBoot(p.conn), process: p} }

type fsProcess struct {
	sdk.FS
	process *Process
}

func (f fsProcess) Close() error { return f.process.Stop(context.Background()) }

type bootProcess struct {
	sdk.Boot
	process *Process
}

func (b bootProcess) Close() error { return b.process.Stop(context.Background()) }

// PID gives the process id.
func (p *Process) PID() int { return p.child.pid }

// Exited gives a channel that is closed when the process has ended and all that
// it wrote was read.
func (p *Process) Exited() <-chan struct{} { return p.child.finished }

// ExitStatus says how the process ended, such as "exit status 2" or "signal:
// killed". It is valid after Exited.
func (p *Process) ExitStatus() string { return p.child.status }

// LastLines gives the last lines that the plugin wrote on standard error.
func (p *Process) LastLines() []string { return p.log.lines() }

// Stop closes the plugin and waits until it has exited, and removes what belongs
// to it. A call under way is waited for. When ctx is done before that, the
// process is killed. The error is that of the plugin's Close, or says that it had
// to be killed; nothing is left running in any case. Repeated, it gives the same
// error again.
func (p *Process) Stop(ctx context.Context) error {
	p.stopOnce.Do(func() {
		defer p.release()
		p.stopErr = p.stop(ctx)
	})
	return p.stopErr
}

func (p *Process) stop(ctx context.Context) error {
	err := p.closePlugin(ctx)
	p.shutDown(ctx)
	p.child.endWatch()
	select {
	case <-p.child.gone:
		return err
	case <-ctx.Done():
		_ = p.child.Kill(ctx)
		return fmt.Errorf("had to be killed, since it did not stop in time: %w", context.Cause(ctx))
	}
}

// shutDownMethod is how go-plugin tells its own Serve to return; its messages are
// empty (internal/plugin/grpc_controller.proto there).
const shutDownMethod = "/plugin.GRPCController/Shutdown"

// shutDown ends a plugin that go-plugin's own Serve serves. That stops whatever is
// under way in it, so it comes after Close. One of package serve has ended already,
// or does not know the method.
func (p *Process) shutDown(ctx context.Context) {
	if p.child.context.Err() == nil {
		_ = p.conn.Invoke(ctx, shutDownMethod, new(emptypb.Empty), new(emptypb.Empty))
	}
}

// closePlugin has the plugin closed, unless it is dead already.
func (p *Process) closePlugin(ctx context.Context) error {
	if p.child.context.Err() != nil {
		return nil
	}
	err := p.Plugin().CloseContext(ctx)
	var reported *sdk.Error
	if err == nil || errors.As(err, &reported) {
		return err
	}
	// There was no answer: time is up, or the plugin ended without one.
	select {
	case <-p.child.finished:
		if p.child.status == cleanExit {
			return nil
		}
		return fmt.Errorf("died while it was closed (%s)", p.child.status)
	case <-ctx.Done():
		return err
	}
}

// release ends the process if it still runs, and frees what belongs to it.
func (p *Process) release() {
	p.child.endWatch()
	if err := p.child.Kill(context.Background()); err == nil {
		p.client.Kill() // only cleans up; it would wait for a live process
	}
	p.child.close()
	wire.RemovePrivateDirectory(p.directory)
}
