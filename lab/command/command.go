// Package command runs the programs that the lab builds machines with.
package command

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Run runs a program and gives its standard output. Environment is added to that of
// this process, as is what Debian keeps from a user's PATH.
//
// An error names the program and has its standard error.
func Run(ctx context.Context, environment []string, program string, arguments ...string) (string, error) {
	return RunIn(ctx, "", environment, program, arguments...)
}

// RunIn is Run in a directory.
func RunIn(ctx context.Context, directory string, environment []string, program string, arguments ...string) (string, error) {
	path, err := find(program)
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, path, arguments...)
	command.Dir = directory
	command.Env = append(append(os.Environ(), "LC_ALL=C"), environment...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(arguments, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// find looks in PATH, then where Debian has programs for root.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil || strings.Contains(program, "/") {
		return path, err
	}
	for _, directory := range []string{"/usr/sbin/", "/sbin/"} {
		if path, sbinErr := exec.LookPath(directory + program); sbinErr == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w; \"make deps\" installs what the lab needs", err)
}
