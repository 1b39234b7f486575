package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) {
	program := func() { os.Exit(run(os.Args)) }
	commands := map[string]func(){"tbdiff": program, "tbdiff-create": program, "tbdiff-deploy": program}
	// The commands stay in the namespace of the tests.
	if commands[filepath.Base(os.Args[0])] == nil {
		loopback.Isolate()
	}
	testscript.Main(m, commands)
}

// TestScripts runs the stories in testdata/script. They need root, since trees have
// owners and devices.
func TestScripts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the tests of tbdiff set owners, make device nodes and mount: run them as root")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"status": status, "socket": socket},
	})
}

// status is a command of the scripts: "status N PROGRAM ARGUMENTS…" runs a program
// that must end with exit status N.
func status(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM ARGUMENTS")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	got := 0
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s ended with status %d, want %d", args[1], got, want)
	}
}

// socket is a command of the scripts: "socket PATH" makes one.
func socket(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) != 1 {
		ts.Fatalf("usage: socket PATH")
	}
	ts.Check(unix.Mknod(ts.MkAbs(args[0]), unix.S_IFSOCK|0o755, 0))
}
