// Command tbupdate updates the machine that it runs on, or the disks of another:
// see docs/tbupdate.md. This package parses and prints; what happens is in core.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is set by the linker (see the Makefile).
var version = "development"

func main() {
	ctx, stop := watchSignals(context.Background())
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, now: time.Now, rebooter: runningMachine{}}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// watchSignals ends the context with a signal that asks the program to end, so that
// what is under way ends cleanly: it is undone, and the exit code says so. SIGHUP is
// one of them: the line over which an operator works may go down at any time. For
// the same reason a reader of the output that goes away (SIGPIPE) stops nothing.
func watchSignals(ctx context.Context) (context.Context, context.CancelFunc) {
	signal.Ignore(syscall.SIGPIPE)
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}
