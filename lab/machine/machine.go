// Package machine puts the lab together: a machine of a platform, with a release on
// its disk, that can be switched on, spoken to, updated and cut off.
package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/lab/command"
	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
	"github.com/trebuchet-update/tbupdate/lab/image"
	"github.com/trebuchet-update/tbupdate/lab/qemu"
	"github.com/trebuchet-update/tbupdate/lab/release"
)

// Workshop makes machines. Its methods may be called from several goroutines.
type Workshop struct {
	top string

	mu       sync.Mutex
	builders map[string]*release.Builder // by architecture
}

// NewWorkshop gives a workshop for the module at top.
func NewWorkshop(top string) *Workshop {
	return &Workshop{top: top, builders: map[string]*release.Builder{}}
}

// Builder gives the builder of releases for an architecture.
func (w *Workshop) Builder(ctx context.Context, arch string) (*release.Builder, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b, ok := w.builders[arch]; ok {
		return b, nil
	}
	b, err := release.New(ctx, w.top, arch)
	if err == nil {
		w.builders[arch] = b
	}
	return b, err
}

// Options are what may differ from one machine to another of the same platform.
type Options struct {
	// BootSize is that of /boot, FirstSize that of the disk's first partition; in bytes,
	// 0 for plenty.
	BootSize, FirstSize int64
	// Systemd has a distribution with systemd instead of the small system.
	Systemd bool
	// ConfirmTimeout is how long a trial may run without being confirmed; 0 for plenty.
	ConfirmTimeout time.Duration
	// Watchdog is a device that resets the machine, as QEMU calls it; "" for none.
	Watchdog string
	// Release is the number of the release that is installed; 0 means 1.
	Release int
	// Disk is a raw image to run on, which stays as it is, instead of a new one; Variables is a file
	// with the firmware's variables that goes with it. "" for a new machine.
	Disk, Variables string
}

// Machine is a machine with its disk.
type Machine struct {
	*qemu.Machine
	Platform image.Platform
	Releases *release.Builder
	// Installed is the release that was installed first.
	Installed release.Release
	// Partitions are those of the disk.
	Partitions [3]image.Span

	directory string
	disk      string // over an image
	payload   string // the file behind the second disk
}

// payloadSize is that of the second disk, on which updates come.
const payloadSize = 256 << 20

// New makes a machine that is off. Close removes it.
func (w *Workshop) New(ctx context.Context, platform image.Platform, options Options) (*Machine, error) {
	m, err := w.build(ctx, platform, options)
	if err != nil {
		return nil, fmt.Errorf("cannot make a machine of platform %s: %w", platform.Name, err)
	}
	return m, nil
}

func (w *Workshop) build(ctx context.Context, platform image.Platform, options Options) (_ *Machine, err error) {
	m := &Machine{Platform: platform}
	if m.Releases, err = w.Builder(ctx, platform.Arch); err != nil {
		return nil, err
	}
	if platform.Complete != nil {
		if platform, err = platform.Complete(ctx, m.Releases.Store); err != nil {
			return nil, err
		}
		m.Platform = platform
	}
	if options.FirstSize != 0 {
		platform.First.Size = options.FirstSize
	}
	spec := image.Spec{
		Platform: platform, Programs: m.Releases.Host, Downloads: filepath.Join(w.top, "build/cache"), BootSize: options.BootSize, Systemd: options.Systemd, ConfirmTimeout: options.ConfirmTimeout,
	}
	m.Installed = m.Releases.Number(max(options.Release, 1))
	m.Installed.Systemd = options.Systemd
	m.Installed.Model = release.Model{Name: platform.Name, Files: spec.Files()}
	if spec.Tree, err = m.Releases.Tree(ctx, m.Installed); err != nil {
		return nil, err
	}
	m.Partitions = spec.Partitions()
	disk := options.Disk
	if disk == "" {
		if disk, err = image.Build(ctx, m.Releases.Store, spec); err != nil {
			return nil, err
		}
	}
	if m.Platform.Variables != "" && options.Variables != "" {
		m.Platform.Variables = options.Variables
	}
	if m.directory, err = os.MkdirTemp("", "lab-machine-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(m.directory)
		}
	}()
	return m, m.assemble(ctx, disk, options.Watchdog)
}

// assemble gives the machine its disks, its firmware and its watchdog.
func (m *Machine) assemble(ctx context.Context, disk, watchdog string) error {
	m.disk = filepath.Join(m.directory, "disk.qcow2")
	if err := image.Overlay(ctx, disk, m.disk); err != nil {
		return err
	}
	m.payload = filepath.Join(m.directory, "payload")
	if err := os.WriteFile(m.payload, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(m.payload, payloadSize); err != nil {
		return err
	}
	board, err := m.Platform.Board(m.directory)
	if err != nil {
		return err
	}
	if watchdog != "" {
		board = append(board, "-device", watchdog)
	}
	m.Machine = qemu.New(qemu.Config{
		Program: m.Platform.Program, Arguments: board, Memory: m.Platform.Memory, Directory: m.directory,
		Disks: []qemu.Disk{{Path: m.disk, Format: "qcow2"}, {Path: m.payload, Format: "raw", ReadOnly: true}},
	})
	return nil
}

// CopyDisk writes what is on the disk of a machine that is off into a raw image.
func (m *Machine) CopyDisk(ctx context.Context, to string) error {
	_, err := command.Run(ctx, nil, "qemu-img", "convert", "-O", "raw", m.disk, to)
	return err
}

// Variables is the file with the firmware's variables, if the platform has any.
func (m *Machine) Variables() string { return filepath.Join(m.directory, image.VariablesFile) }

// Close cuts the power and removes the machine.
func (m *Machine) Close() error {
	m.CutPower()
	return os.RemoveAll(m.directory)
}

// Running is what a guest says of itself when it is up.
type Running struct {
	Version string // of the release
	Kernel  string // as uname -r has it
	Trial   bool   // whether this boot is a trial
	At      time.Time
}

var upLine = regexp.MustCompile(`^` + protocol.Up + ` version=(\S+) kernel=(\S+) trial=(\d) `)

// ParseUp reads the line by which a guest says that it is up.
func ParseUp(line qemu.Line) (Running, bool) {
	match := upLine.FindStringSubmatch(line.Text)
	if match == nil || line.Machine {
		return Running{}, false
	}
	return Running{Version: match[1], Kernel: match[2], Trial: match[3] == "1", At: line.Time}, true
}

// AwaitUp waits for the next guest that is up, from position of the console on, and
// gives the position behind that.
func (m *Machine) AwaitUp(ctx context.Context, position int) (Running, int, error) {
	line, position, err := m.Console.Wait(ctx, position, upLine)
	if err != nil {
		return Running{}, position, err
	}
	running, _ := ParseUp(line)
	return running, position, m.WaitUp(ctx)
}

// Reboot has the guest restart in an orderly way. It does not wait for it.
func (m *Machine) Reboot(ctx context.Context) error { return m.end(ctx, "reboot") }

// PowerOff has the guest power off, and waits for it.
func (m *Machine) PowerOff(ctx context.Context) error {
	if err := m.end(ctx, "poweroff"); err != nil {
		return err
	}
	return m.WaitOff(ctx)
}

// terminated is the exit status of a shell that SIGTERM ended.
const terminated = 128 + int(unix.SIGTERM)

// end runs a command that the guest may not survive long enough to answer: init may end the
// shell first, and the agent may still say so.
func (m *Machine) end(ctx context.Context, command string) error {
	answer, err := m.Run(ctx, command)
	if errors.Is(err, qemu.ErrOff) || errors.Is(err, qemu.ErrReset) {
		return nil
	}
	if err == nil && answer.Exit != 0 && answer.Exit != terminated {
		err = fmt.Errorf("%s ended with %d in the guest: %s", command, answer.Exit, answer.Stderr)
	}
	return err
}

// Deliver puts a file onto the second disk, and gives the shell command that writes
// it to standard output in the guest.
func (m *Machine) Deliver(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if len(content) > payloadSize {
		return "", fmt.Errorf("%s does not fit onto the second disk", file)
	}
	// In place: the guest reads through QEMU what is here now, since nobody in it keeps the
	// device open, and so nothing of it in memory.
	f, err := os.OpenFile(m.payload, os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.WriteAt(content, 0); err != nil {
		return "", err
	}
	return fmt.Sprintf("head -c %d /dev/vdb", len(content)), nil
}

// Shell runs a command in the guest that must succeed, and gives what it printed.
func (m *Machine) Shell(ctx context.Context, command string) (string, error) {
	answer, err := m.Run(ctx, command)
	if err != nil {
		return "", err
	}
	if answer.Exit != 0 {
		return answer.Stdout, fmt.Errorf("%q ended with %d in the guest: %s%s", command, answer.Exit, answer.Stdout, answer.Stderr)
	}
	return strings.TrimRight(answer.Stdout, "\n"), nil
}
