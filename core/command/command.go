// Package command runs the programs of the system: with a context, in the C locale,
// and with what they complained about in the error.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// searchPath is where programs are looked for: early in boot there may be no PATH.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// drainLimit is how long the output of a program that has ended is waited for, where
// something that it started holds it open.
const drainLimit = time.Second

// Output runs a program and gives what it printed on standard output. The error of
// one that fails has what it printed on standard error, and wraps exec.ErrNotFound
// where there is no such program.
func Output(ctx context.Context, program string, arguments ...string) ([]byte, error) {
	path, err := find(program)
	if err != nil {
		return nil, fmt.Errorf("cannot run %s: %w", program, err)
	}
	var stdout, stderr bytes.Buffer
	run := exec.CommandContext(ctx, path, arguments...)
	run.Env = Environment()
	run.Stdout, run.Stderr = &stdout, &stderr
	run.WaitDelay = drainLimit
	// One that has ended well may have left something that holds its output open.
	if err := run.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		said := strings.TrimSpace(stderr.String())
		if said != "" {
			said = ": " + strings.ReplaceAll(said, "\n", "; ")
		}
		return stdout.Bytes(), fmt.Errorf("%s: %w%s", strings.Join(append([]string{program}, arguments...), " "), err, said)
	}
	return stdout.Bytes(), nil
}

// Environment is that of every program which is run: the caller's, in the C locale,
// and with a PATH that has all usual places.
func Environment() []string {
	return append(os.Environ(), "LC_ALL=C", "PATH="+searchPath)
}

// find looks for a program in the usual places, whatever the PATH is.
func find(program string) (string, error) {
	if strings.Contains(program, "/") {
		return program, nil
	}
	for directory := range strings.SplitSeq(searchPath, ":") {
		path := directory + "/" + program
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}
