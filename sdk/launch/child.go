package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	plugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"

	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

// commandSpec is how go-plugin hands over the environment of its protocol.
type commandSpec = exec.Cmd

// Descriptors that a plugin inherits besides the standard ones, as numbered by
// exec.Cmd.ExtraFiles.
const (
	watchDescriptor   = 3
	programDescriptor = 4
)

// searchPath is the PATH of every plugin, whatever the host's is.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const (
	// drainLimit is how long output of a dead plugin is waited for: a helper
	// process that survived it may hold the pipes open.
	drainLimit = time.Second
	// helperGrace is how long such a helper may go on before it is killed.
	helperGrace = 5 * time.Second
	helperPoll  = 20 * time.Millisecond
	// killLimit is how long a killed process and its helpers may take to go.
	killLimit = helperGrace + 5*time.Second
)

// cleanExit is how a process should end, in the words of os.ProcessState.
const cleanExit = "exit status 0"

// child is the operating system's side of a plugin. It is go-plugin's runner.
type child struct {
	command        *exec.Cmd
	directory      string
	stdout, stderr *os.File // what the host reads
	firstLine      *firstLine
	watch          *os.File   // the writing end; closed by endWatch
	inherited      []*os.File // the child's ends, closed after the start
	watchOnce      sync.Once

	pid    int
	status string // valid after exited

	begun    chan struct{}   // pid is set; never closed when it cannot be started
	context  context.Context // done after exited
	end      context.CancelFunc
	exited   chan struct{} // the process has ended
	finished chan struct{} // and all of its output was read
	gone     chan struct{} // and no helper of it is left
	killed   chan struct{} // closed when Kill finds it alive
	killOnce sync.Once
}

var _ runner.Runner = (*child)(nil)

func newChild(program *os.File, path, directory string) (c *child, err error) {
	c = &child{
		directory: directory,
		begun:     make(chan struct{}),
		exited:    make(chan struct{}), finished: make(chan struct{}),
		gone: make(chan struct{}), killed: make(chan struct{}),
	}
	c.context, c.end = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			c.close()
			err = fmt.Errorf("cannot make pipes for the plugin: %w", err)
		}
	}()
	var stdoutWrite, stderrWrite, watchRead *os.File
	for _, pipe := range []struct{ read, write **os.File }{
		{&c.stdout, &stdoutWrite}, {&c.stderr, &stderrWrite}, {&watchRead, &c.watch},
	} {
		if *pipe.read, *pipe.write, err = os.Pipe(); err != nil {
			return c, err
		}
	}
	c.inherited = []*os.File{stdoutWrite, stderrWrite, watchRead}
	c.firstLine = &firstLine{ReadCloser: c.stdout}
	c.command = &exec.Cmd{
		Path:       "/proc/self/fd/" + strconv.Itoa(programDescriptor),
		Args:       []string{path},
		Dir:        "/",
		Stdout:     stdoutWrite,
		Stderr:     stderrWrite,
		ExtraFiles: []*os.File{watchDescriptor - 3: watchRead, programDescriptor - 3: program},
		SysProcAttr: &syscall.SysProcAttr{
			Setsid:    true,
			Pdeathsig: syscall.SIGTERM,
		},
	}
	return c, nil
}

// takeEnvironment sets the environment: the part that go-plugin's protocol asks
// for, and a fixed rest. The socket's directory is ours in place of go-plugin's,
// since go-plugin removes its own recursively, which would delete what a plugin
// mounted there.
func (c *child) takeEnvironment(protocol []string) {
	for _, variable := range protocol {
		if !strings.HasPrefix(variable, plugin.EnvUnixSocketDir+"=") {
			c.command.Env = append(c.command.Env, variable)
		}
	}
	c.command.Env = append(c.command.Env,
		plugin.EnvUnixSocketDir+"="+c.directory,
		"TMPDIR="+c.directory,
		"PATH="+searchPath,
		"LC_ALL=C",
		wire.WatchVariable+"="+strconv.Itoa(watchDescriptor),
		wire.ProgramVariable+"="+strconv.Itoa(programDescriptor),
	)
}

// Start implements runner.Runner.
func (c *child) Start(context.Context) error {
	started := make(chan error)
	go c.live(started)
	return <-started
}

// live starts the process and stays until it is gone.
//
// The kernel sends the parent-death signal when the thread that forked ends, not
// the process (prctl(2), PR_SET_PDEATHSIG); so that thread is kept until then.
func (c *child) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := keepDescriptors()
	if err == nil {
		err = c.command.Start()
	}
	closeAll(c.inherited)
	if err != nil {
		c.status = "not started"
		c.end()
		close(c.exited)
		close(c.finished)
		close(c.gone)
		started <- err
		return
	}
	c.pid = c.command.Process.Pid
	close(c.begun)
	if c.wasKilled() { // before it had begun
		_ = c.command.Process.Kill() // it ended in the meantime
	}
	started <- nil
	err = c.command.Wait()
	c.status = cleanExit
	if err != nil {
		c.status = err.Error()
	}
	c.end()
	close(c.exited)
	limit := time.Now().Add(drainLimit)
	_ = c.stdout.SetReadDeadline(limit) // fails for closed files only
	_ = c.stderr.SetReadDeadline(limit)
	c.endHelpers()
	close(c.gone)
}

// keepDescriptors marks what this process itself has inherited, such as from a
// shell or a service manager, so that the plugin does not. What Go opens is
// marked from the start.
func keepDescriptors() error {
	const path = "/proc/self/fd"
	descriptors, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, d := range descriptors {
		fd, err := strconv.Atoi(d.Name())
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", path, err)
		}
		if fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}

// endHelpers waits for processes that the plugin started and left behind, and
// kills those that take too long, or all when the plugin had to be killed. They
// are found as its process group.
func (c *child) endHelpers() {
	if c.helpersEnd(helperGrace, c.killed) {
		return
	}
	_ = syscall.Kill(-c.pid, syscall.SIGKILL) // they ended in the meantime
	c.helpersEnd(drainLimit, nil)
}

// helpersEnd waits until no helper is left and says whether that came about
// within the limit and before stop was closed.
func (c *child) helpersEnd(limit time.Duration, stop <-chan struct{}) bool {
	over := time.After(limit)
	for {
		// The pid cannot belong to another group: the kernel gives it away
		// again only after the last member is gone, and then in a cycle.
		if err := syscall.Kill(-c.pid, 0); errors.Is(err, syscall.ESRCH) {
			return true
		}
		select {
		case <-stop:
			return false
		case <-over:
			return false
		case <-time.After(helperPoll):
		}
	}
}

// Wait implements runner.Runner. go-plugin calls it after the output's end.
func (c *child) Wait(context.Context) error {
	<-c.exited
	close(c.finished)
	return nil
}

// Kill implements runner.Runner: it kills the process and waits until it and its
// helpers are gone. One that has not begun yet is killed as soon as it does. It
// fails for a process that the kernel does not let go, such as one that waits for
// a dead disk.
func (c *child) Kill(context.Context) error {
	select {
	case <-c.exited:
	default:
		c.killOnce.Do(func() { close(c.killed) })
	}
	select {
	case <-c.begun:
		_ = c.command.Process.Kill() // it ended in the meantime
	default:
		return nil // live looks after it
	}
	select {
	case <-c.gone:
		return nil
	case <-time.After(killLimit):
		return fmt.Errorf("process %d does not end although it was killed", c.pid)
	}
}

// wasKilled says whether Kill ended the process.
func (c *child) wasKilled() bool {
	select {
	case <-c.killed:
		return true
	default:
		return false
	}
}

// Diagnose implements runner.Runner. go-plugin calls it when the first line of
// output was not a handshake, and kills the process then; one that is about to
// end by itself gets the time to, so that its exit status is known.
func (c *child) Diagnose(context.Context) string {
	if c.firstLine.ended() {
		select {
		case <-c.exited:
		case <-time.After(drainLimit):
		}
	}
	return ""
}

// Stdout implements runner.Runner.
func (c *child) Stdout() io.ReadCloser { return c.firstLine }

// Stderr implements runner.Runner.
func (c *child) Stderr() io.ReadCloser { return c.stderr }

// Name implements runner.Runner.
func (c *child) Name() string { return c.command.Args[0] }

// ID implements runner.Runner.
func (c *child) ID() string { return strconv.Itoa(c.pid) }

// PluginToHost implements runner.Runner. It accepts no address but that of a
// socket in the plugin's own directory.
func (c *child) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" || filepath.Dir(address) != c.directory {
		return "", "", fmt.Errorf("it listens at %s %q instead of a socket in its own directory", network, address)
	}
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (c *child) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// endWatch tells the plugin that its host is done with it.
func (c *child) endWatch() {
	c.watchOnce.Do(func() { _ = c.watch.Close() })
}

// close frees the descriptors.
func (c *child) close() {
	closeAll(c.inherited)
	closeAll([]*os.File{c.stdout, c.stderr, c.watch})
	c.end()
}

// closeAll closes pipes, of which some may be nil or closed. Closing a pipe loses
// nothing, so errors do not count.
func closeAll(files []*os.File) {
	for _, file := range files {
		if file != nil {
			_ = file.Close()
		}
	}
}

// firstLine passes standard output through and remembers its beginning, for
// messages about a plugin that does not shake hands.
type firstLine struct {
	io.ReadCloser
	mu    sync.Mutex
	start []byte
	end   bool
}

const firstLineLimit = 200

func (f *firstLine) Read(buffer []byte) (int, error) {
	n, err := f.ReadCloser.Read(buffer)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.start = append(f.start, buffer[:min(n, firstLineLimit-len(f.start))]...)
	f.end = f.end || err != nil
	return n, err
}

func (f *firstLine) ended() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end
}

func (f *firstLine) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	line, _, _ := bytes.Cut(f.start, []byte("\n"))
	return string(line)
}
