package main

import (
	"context"
	"fmt"
)

// classicCreate is "tbdiff-create OUTPUT SOURCE_DIR TARGET_DIR", as the C tool has
// it: status 0 or 1, the output replaced if it exists, further arguments ignored.
// Unlike the C tool it leaves an existing output as it was when it fails.
func classicCreate(ctx context.Context, s streams, args []string) int {
	if len(args) < 4 {
		fmt.Fprintf(s.err, "Usage: %s OUTPUT SOURCE_DIR TARGET_DIR.\n", args[0])
		return exitFailed
	}
	return classicStatus(report(s, create(ctx, s, plainFile(args[1]), args[2], args[3])))
}

// classicDeploy is "tbdiff-deploy PATCH", as the C tool has it: it works in the
// current directory, with status 0 or 1, and ignores further arguments.
func classicDeploy(ctx context.Context, s streams, args []string) int {
	if len(args) < 2 {
		fmt.Fprintln(s.err, "Error: No patch stream specified.")
		fmt.Fprintf(s.out, "Usage: %s <patch-stream>\n", args[0])
		return exitFailed
	}
	return classicStatus(report(s, apply(ctx, s, plainFile(args[1]), ".")))
}

// classicStatus gives the status that scripts around the C tools know.
func classicStatus(status int) int {
	if status == 0 {
		return 0
	}
	return exitFailed
}

// plainFile names the same file for commands to which "-" is a standard stream: to
// the C tools it is a name like any other.
func plainFile(name string) string {
	if name == "-" {
		return "./-"
	}
	return name
}
