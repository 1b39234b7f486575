package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/trebuchet-update/tbupdate/core/command"
)

// drainLimit is how long the output of a check that has ended is waited for.
const drainLimit = time.Second

// Programs finds the checks in a directory: files whose names consist of letters,
// digits, '-' and '_' (as run-parts(8) takes them, so that a copy that an editor or a
// package manager leaves is no check) and that are executable, sorted by name. A
// directory that is not there holds none. A program that others than root could have
// put there is not run: its check fails, and says so.
//
// environment is added to that of the programs.
func Programs(directory string, environment []string) []Check {
	entries, err := os.ReadDir(directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = trusted(directory)
	}
	if err != nil {
		return []Check{failing(filepath.Base(directory), err)}
	}
	var checks []Check
	for _, entry := range entries {
		path := filepath.Join(directory, entry.Name())
		info, err := os.Stat(path)
		switch {
		case !properName(entry.Name()):
		case err != nil: // a link that leads nowhere is a check that is not there
			checks = append(checks, failing(entry.Name(), fmt.Errorf("cannot look at %s: %w", path, err)))
		case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		default:
			checks = append(checks, program(entry.Name(), path, environment))
		}
	}
	return checks
}

// properName reports whether a file of this name is a check.
func properName(name string) bool {
	for _, r := range name {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
		default:
			return false
		}
	}
	return true
}

// trusted makes sure that nobody but root can have written what is at path.
func trusted(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 {
		return fmt.Errorf("%s does not belong to root, so it is not run", path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s can be written by others than its owner (mode %04o), so it is not run", path, info.Mode().Perm())
	}
	return nil
}

// failing is a check that cannot be made.
func failing(name string, err error) Check {
	return Check{Name: name, Run: func(context.Context, io.Writer) error { return err }}
}

// program is the check that a program makes: it passes with exit status 0. The
// program runs in / without input, in a process group of its own, which is killed as
// a whole when the time is up, and also when the program ends: a check leaves nothing
// behind.
func program(name, path string, environment []string) Check {
	return Check{Name: name, Run: func(ctx context.Context, output io.Writer) error {
		if err := trusted(path); err != nil {
			return err
		}
		var said lastLine
		run := exec.CommandContext(ctx, path)
		run.Dir = "/"
		run.Env = append(command.Environment(), environment...)
		run.Stdout = io.MultiWriter(output, &said)
		run.Stderr = run.Stdout
		run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		run.WaitDelay = drainLimit
		run.Cancel = func() error { return syscall.Kill(-run.Process.Pid, syscall.SIGKILL) }
		if err := run.Start(); err != nil {
			return fmt.Errorf("cannot run %s: %w", path, errors.Unwrap(err))
		}
		err := run.Wait()
		_ = syscall.Kill(-run.Process.Pid, syscall.SIGKILL)
		switch {
		case err == nil, errors.Is(err, exec.ErrWaitDelay):
			return nil // it ended with 0, whoever holds its output open
		case said.text() == "":
			return err
		}
		return fmt.Errorf("%s (%w)", said.text(), err)
	}}
}

// lastLine keeps the last line that is not empty, which most programs end with
// saying what is wrong.
type lastLine struct{ line, rest string }

// lineLimit bounds what is kept of a line, in bytes.
const lineLimit = 200

func (l *lastLine) Write(p []byte) (int, error) {
	lines := strings.Split(l.rest+string(p), "\n")
	for _, line := range lines[:len(lines)-1] {
		l.keep(line)
	}
	l.rest = cut(lines[len(lines)-1])
	return len(p), nil
}

func (l *lastLine) keep(line string) {
	if line = strings.TrimSpace(line); line != "" {
		l.line = cut(line)
	}
}

// text gives the line, without what does not belong into a message.
func (l *lastLine) text() string {
	l.keep(l.rest)
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(l.line, "?"))
}

func cut(line string) string { return line[:min(len(line), lineLimit)] }
