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
	// Both signals end what is under way cleanly: it is undone, and the exit code
	// says so.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, now: time.Now}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
