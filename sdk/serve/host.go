package serve

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	plugin "github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

// host is what a plugin has of its host: descriptors, a directory, a pid.
type host struct {
	// directory holds the socket and temporary files; it is this process's own.
	directory string
	// handshake is the standard output that the host reads.
	handshake *os.File
	// watch reads end of file when the host is gone.
	watch *os.File
	// pid is the host's.
	pid int
}

// takeHost takes over what the host handed down. Everything printed on standard
// output from here on goes to standard error, at the level of descriptors, so
// that it holds for libraries and child processes as well.
func takeHost() (*host, error) {
	h, err := takeWatch()
	if err != nil {
		return nil, err
	}
	if h.handshake, err = divertStdout(); err != nil {
		return nil, fmt.Errorf("cannot redirect standard output: %w", err)
	}
	hideVariables()
	nameProcess()
	return h, nil
}

// takeWatch takes over all but standard output.
func takeWatch() (*host, error) {
	h := &host{directory: os.Getenv(plugin.EnvUnixSocketDir), pid: os.Getppid()}
	if !filepath.IsAbs(h.directory) {
		return nil, fmt.Errorf("%s does not name a directory, but %q", plugin.EnvUnixSocketDir, h.directory)
	}
	var err error
	if h.watch, err = inherited(wire.WatchVariable); err != nil {
		return nil, err
	}
	if program, err := inherited(wire.ProgramVariable); err == nil {
		_ = program.Close() // read-only, nothing to lose
	}
	return h, nil
}

// inherited gives the descriptor whose number the variable holds. Programs that
// the plugin starts do not inherit it.
func inherited(variable string) (*os.File, error) {
	fd, err := strconv.Atoi(os.Getenv(variable))
	if err != nil || fd <= 2 {
		return nil, fmt.Errorf("%s does not name a descriptor, but %q", variable, os.Getenv(variable))
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot use descriptor %d of %s: %w", fd, variable, err)
	}
	return os.NewFile(uintptr(fd), variable), nil
}

func divertStdout() (*os.File, error) {
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.Dup3(2, 1, 0); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "handshake"), nil
}

// hideVariables keeps the start protocol from programs that the plugin runs.
func hideVariables() {
	for _, variable := range []string{
		wire.CookieKey, wire.WatchVariable, wire.ProgramVariable, plugin.EnvUnixSocketDir,
		"PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT", "PLUGIN_PROTOCOL_VERSIONS",
	} {
		_ = os.Unsetenv(variable) // fails for malformed names only
	}
}

// nameProcess gives the process its program's name in ps. It was executed through
// a descriptor, and is called by that number otherwise.
func nameProcess() {
	_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0) // cosmetic
}

// shakeHands tells the host where to connect: go-plugin's protocol version, the
// contract's version, network, address, protocol.
func (h *host) shakeHands(address net.Addr) error {
	_, err := fmt.Fprintf(h.handshake, "%d|%d|%s|%s|%s|\n",
		plugin.CoreProtocolVersion, wire.Version, address.Network(), address, plugin.ProtocolGRPC)
	if closeErr := h.handshake.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("cannot shake hands with the host: %w", err)
	}
	return nil
}

// gone gives a channel that is closed when the host process is no more.
//
// End of file on the watch pipe says so. Should another process have inherited
// the writing end from the host, the signal that the kernel sends when a parent
// dies says so as well. That signal alone says nothing: a service manager sends
// SIGTERM to host and plugins alike, and then the host still needs its plugins
// to leave the machine in order.
func (h *host) gone(signals <-chan os.Signal) <-chan struct{} {
	eof := make(chan struct{})
	go func() {
		defer close(eof)
		for buffer := make([]byte, 1); ; {
			if _, err := h.watch.Read(buffer); err != nil {
				return
			}
		}
	}()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			select {
			case <-eof:
				return
			case s := <-signals:
				if s == syscall.SIGTERM && os.Getppid() != h.pid {
					return
				}
			}
		}
	}()
	return gone
}

// dropLog makes standard output and error lead nowhere, as nobody reads them any
// more: a program that the plugin starts from here on would die of SIGPIPE.
func (h *host) dropLog() {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer func() { _ = null.Close() }()
	for _, fd := range []int{1, 2} {
		_ = unix.Dup3(int(null.Fd()), fd, 0) // then the pipe stays, which is no worse
	}
}

// removeDirectory removes the directory as far as it holds only files and empty
// directories. It never descends: a plugin may have mounted something there.
func (h *host) removeDirectory() {
	wire.RemovePrivateDirectory(h.directory)
}
