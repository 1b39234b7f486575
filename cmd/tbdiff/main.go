// Command tbdiff makes, applies and explains the deltas that Trebuchet Update
// delivers. It runs on build hosts. Called as tbdiff-create or tbdiff-deploy it
// takes the arguments of the C tools of these names.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// version is set by the linker, from the state of the source tree.
var version = "development"

func main() {
	os.Exit(run(os.Args))
}

// run is the program: it gives the exit status.
func run(args []string) int {
	// A second signal ends the program at once: NotifyContext stops listening.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	s := streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	switch filepath.Base(args[0]) {
	case "tbdiff-create":
		return classicCreate(ctx, s, args)
	case "tbdiff-deploy":
		return classicDeploy(ctx, s, args)
	}
	return execute(ctx, s, args[1:])
}

// streams are what a command reads from and writes to.
type streams struct {
	in  *os.File
	out *os.File
	err io.Writer
}
