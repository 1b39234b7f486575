package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/update"
)

// rebootMachine asks the init system for an orderly reboot.
func rebootMachine(ctx context.Context) error {
	unix.Sync()
	program := []string{"reboot"}
	if _, err := os.Stat("/run/systemd/system"); err == nil { // sd_booted(3)
		program = []string{"systemctl", "reboot"}
	}
	command := exec.CommandContext(ctx, program[0], program[1:]...)
	command.Env = append(os.Environ(), "LC_ALL=C")
	if output, err := command.CombinedOutput(); err != nil {
		return &update.Error{Class: update.Failed, State: "The update is armed; the next boot tries it, whoever asks for it.",
			Err: fmt.Errorf("cannot reboot: %s: %w: %s", strings.Join(program, " "), err, strings.TrimSpace(string(output)))}
	}
	return nil
}
