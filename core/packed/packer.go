package packed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/trebuchet-update/tbupdate/core/command"
	"github.com/trebuchet-update/tbupdate/core/packed/lz4"
)

// nobody is the user that a packer runs as: it reads its input and writes its output,
// and may do nothing else.
const nobody = 65534

// Packer packs what is written to it.
type Packer interface {
	io.Writer
	// End packs the rest. The first of what went wrong is the error.
	End() error
	// Kill ends it without that.
	Kill()
}

// NewLZ4 packs to w as v1.ByLZ4 says, from a goroutine, until End or Kill has returned.
func NewLZ4(w io.Writer) Packer { return own{lz4.NewWriter(w)} }

// own is a packer of this program.
type own struct{ *lz4.Writer }

func (p own) End() error { return p.Close() }

// program runs a program of a tree that packs what it is given, such as gzip. It is jailed
// in the tree, without privileges and without a network.
type program struct {
	path   string
	run    *exec.Cmd
	input  io.WriteCloser
	stderr bytes.Buffer
	read   chan error // of the goroutine that reads the output
}

// Start starts the program of that path in the tree whose top is jail. Its output goes to w, from
// a goroutine, until End or Kill has returned.
func Start(ctx context.Context, jail, path string, arguments []string, w io.Writer) (Packer, error) {
	p := &program{path: path, read: make(chan error, 1)}
	p.run = exec.CommandContext(ctx, "/"+path, arguments...)
	p.run.Env = command.Environment()
	p.run.Dir = "/"
	p.run.Stderr = &p.stderr
	p.run.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     jail,
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody},
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	output, err := p.run.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.input, err = p.run.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.run.Start(); err != nil {
		return nil, p.failed(err)
	}
	go func() {
		_, err := io.Copy(w, output)
		if err != nil {
			_ = p.run.Process.Kill() // nobody takes what it writes any more
			_, _ = io.Copy(io.Discard, output)
		}
		p.read <- err
	}()
	return p, nil
}

// Write gives the program more input. Where that fails End tells why.
func (p *program) Write(b []byte) (int, error) {
	n, err := p.input.Write(b)
	if err != nil {
		err = fmt.Errorf("cannot pack with %q of the tree: %w", p.path, err)
	}
	return n, err
}

// End ends the input and waits for the program. The first of what went wrong is the
// error: in taking its output, or in the program.
func (p *program) End() error {
	closed := p.input.Close()
	taken := <-p.read
	ended := p.run.Wait()
	switch {
	case taken != nil:
		return taken
	case ended != nil:
		return p.failed(ended)
	case closed != nil && !errors.Is(closed, os.ErrClosed):
		return p.failed(closed)
	}
	return nil
}

// Kill ends the program without waiting for what it does.
func (p *program) Kill() {
	_ = p.run.Process.Kill()
	p.input.Close()
	<-p.read
	_ = p.run.Wait()
}

// failed adds what the program complained of, once it has ended.
func (p *program) failed(err error) error {
	said := strings.TrimSpace(p.stderr.String())
	if said != "" {
		said = ": " + strings.ReplaceAll(said, "\n", "; ")
	}
	return fmt.Errorf("cannot pack with %q of the tree: %w%s", p.path, err, said)
}

// ErrOther: a program packs other than it did where the stream was made.
var ErrOther = errors.New("it packs other than it did")

// Window passes on those bytes of a program's output that belong to a file: Length from
// Skip on, which are the last ones.
type Window struct {
	W            io.Writer
	Skip, Length uint64
}

// Write takes output.
func (w *Window) Write(b []byte) (int, error) {
	all := len(b)
	passed := min(w.Skip, uint64(len(b)))
	w.Skip -= passed
	b = b[passed:]
	if uint64(len(b)) > w.Length {
		return 0, ErrOther
	}
	w.Length -= uint64(len(b))
	if _, err := w.W.Write(b); err != nil {
		return 0, err
	}
	return all, nil
}
