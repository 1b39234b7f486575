package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/command"
	"github.com/trebuchet-update/tbupdate/core/update"
)

// requestLimit is how long the init system may take to accept a reboot.
const requestLimit = 30 * time.Second

// rebooter has a machine reboot.
type rebooter interface {
	// Request asks for an orderly reboot, and returns when that is under way.
	Request(ctx context.Context) error
	// Force reboots at once.
	Force() error
}

// runningMachine is the rebooter of the machine that this program runs on.
type runningMachine struct{}

// Request asks the init system. Where there is no program to ask it with, the kernel
// is asked.
func (m runningMachine) Request(ctx context.Context) error {
	if !ownsMachine() {
		return errors.New("cannot reboot: this is not the machine's own file tree")
	}
	unix.Sync()
	program := []string{"reboot"}
	if _, err := os.Stat("/run/systemd/system"); err == nil { // sd_booted(3)
		program = []string{"systemctl", "reboot"}
	}
	limited, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), requestLimit, errors.New("no answer"))
	defer cancel()
	_, err := command.Output(limited, program[0], program[1:]...)
	if errors.Is(err, exec.ErrNotFound) {
		return m.Force()
	}
	if err != nil {
		return fmt.Errorf("cannot reboot: %w", err)
	}
	return nil
}

// rebootArmed reboots into an update.
func (p *program) rebootArmed(ctx context.Context) error {
	if err := p.rebooter.Request(ctx); err != nil {
		return &update.Error{Class: update.Failed, Err: err, State: "The update is armed; the next boot tries it, whoever asks for it."}
	}
	return nil
}

// syncLimit is how long a forced reboot waits for the disks.
const syncLimit = 10 * time.Second

// Force has the kernel reboot at once (reboot(2)). Filesystems are flushed
// first, as far as they let themselves be; each survives this as it survives a loss
// of power.
func (runningMachine) Force() error {
	if !ownsMachine() {
		return errors.New("cannot reboot: this is not the machine's own file tree")
	}
	flushed := make(chan struct{})
	go func() {
		unix.Sync()
		close(flushed)
	}()
	select {
	case <-flushed:
	case <-time.After(syncLimit):
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// ownsMachine reports whether this program runs in the file tree of PID 1. In a
// chroot (an installer, a rescue system) the running machine is somebody else's to
// reboot.
func ownsMachine() bool {
	var own, first syscall.Stat_t
	return syscall.Stat("/", &own) == nil && syscall.Stat("/proc/1/root", &first) == nil && own.Dev == first.Dev && own.Ino == first.Ino
}
