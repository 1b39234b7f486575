package crash

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// machine is a machine whose disk is in a file.
type machine struct {
	*Workshop
	loader loader
	image  string
	work   string // directory for its configuration
	// arguments are the kernel's of the system that runs, as the loader gave them.
	arguments string
	// settings are lines of the configuration beside those for the disk.
	settings string
}

// answer is how a program ended.
type answer struct {
	exit           int
	stdout, stderr string
}

// mustBe makes sure of the exit code.
func (a answer) mustBe(exit int) error {
	if a.exit != exit {
		return fmt.Errorf("exit code %d instead of %d: %s", a.exit, exit, strings.TrimSpace(a.stderr))
	}
	return nil
}

// configure writes the configuration for a disk, and the kernel's arguments.
func (m *machine) configure(ctx context.Context, d *disk) error {
	if l, ok := m.loader.(preparer); ok {
		if err := l.prepare(ctx, d); err != nil {
			return fmt.Errorf("cannot prepare the disk: %w", err)
		}
	}
	text := fmt.Sprintf("[system]\nproduct = %q\n[trust]\nkeys = %q\n[plugins]\ndirs = [%q]\n[fs]\nplugin = \"btrfs\"\n[fs.config]\ndevice = %q\n%s%s",
		product, m.keys, filepath.Join(m.programs, "plugins"), d.root, m.loader.config(d), m.settings)
	for path, content := range map[string]string{m.config(): text, m.line(): m.arguments + "\n"} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) config() string { return filepath.Join(m.work, "config.toml") }
func (m *machine) line() string   { return filepath.Join(m.work, "cmdline") }

// command is the updater with these arguments, once it is configured.
func (m *machine) command(ctx context.Context, d *disk, arguments ...string) *exec.Cmd {
	words := append([]string{filepath.Join(m.programs, "bin/tbupdate"), "--config", m.config(), "--cmdline", m.line()}, arguments...)
	if l, ok := m.loader.(wrapper); ok {
		words = append(l.wrap(d), words...)
	}
	return exec.CommandContext(ctx, words[0], words[1:]...)
}

// tbupdate runs the updater on the disk. feed, if there is one, gives it its standard input.
func (m *machine) tbupdate(ctx context.Context, d *disk, feed func(io.WriteCloser, *os.Process) error, arguments ...string) (answer, error) {
	if err := m.configure(ctx, d); err != nil {
		return answer{}, err
	}
	program := m.command(ctx, d, arguments...)
	var stdout, stderr bytes.Buffer
	program.Stdout, program.Stderr = &stdout, &stderr
	err := runFed(program, feed)
	if program.ProcessState == nil {
		return answer{}, err
	}
	a := answer{program.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && a.exit >= 0 {
		err = nil
	}
	return a, err
}

func runFed(program *exec.Cmd, feed func(io.WriteCloser, *os.Process) error) error {
	if feed == nil {
		return program.Run()
	}
	stdin, err := program.StdinPipe()
	if err != nil {
		return err
	}
	if err := program.Start(); err != nil {
		return err
	}
	fed := feed(stdin, program.Process)
	if fed != nil {
		_ = program.Process.Kill()
	}
	err = program.Wait()
	return cmp.Or(fed, err)
}

// must runs the updater, which has to do what it should.
func (m *machine) must(ctx context.Context, d *disk, arguments ...string) (string, error) {
	a, err := m.tbupdate(ctx, d, nil, arguments...)
	if err == nil {
		err = a.mustBe(0)
	}
	if err != nil {
		err = fmt.Errorf("tbupdate %s: %w", strings.Join(arguments, " "), err)
	}
	return a.stdout, err
}

// status is what the updater says of the machine.
type status struct {
	State, Booted, Default, Trial string
}

func (m *machine) status(ctx context.Context, d *disk) (status, error) {
	var s status
	text, err := m.must(ctx, d, "--json", "status")
	if err == nil {
		err = json.Unmarshal([]byte(text), &s)
	}
	return s, err
}
