package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/update"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) {
	version = "1.4"
	commands := map[string]func(){"tbupdate": func() { runObserved(os.Args[1:], nil) }, "tbupdate-stopped": stopped}
	// The commands stay in the namespace of the tests: in one of their own they
	// would keep copies of mounts that a test beside them has undone, and with a
	// mount that is read-only the filesystem is so everywhere.
	if commands[filepath.Base(os.Args[0])] == nil {
		loopback.Isolate()
	}
	testscript.Main(m, commands)
}

// stopped is tbupdate with a stop at one step: its first argument is a signal, or
// WAIT to make the file "reached" and wait for the file "go-on", or LOSE-fs or
// LOSE-boot to kill that plugin; the second is KIND/STEP/PHASE. Where that does not
// end the program it goes on.
func stopped() {
	signals := map[string]syscall.Signal{"KILL": syscall.SIGKILL, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	runObserved(os.Args[3:], func(kind generation.OperationKind, step update.Step, phase update.Phase) {
		if os.Args[2] != place(kind, step, phase) {
			return
		}
		if sig, ok := signals[os.Args[1]]; ok {
			_ = syscall.Kill(os.Getpid(), sig)
			time.Sleep(50 * time.Millisecond) // until the signal is noticed
			return
		}
		if kind, ok := strings.CutPrefix(os.Args[1], "LOSE-"); ok {
			killPlugin(kind)
			return
		}
		if err := os.WriteFile("reached", nil, 0o600); err != nil {
			panic(err)
		}
		for {
			if _, err := os.Stat("go-on"); err == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// killPlugin kills this program's plugin of a kind.
func killPlugin(kind string) {
	lists, err := filepath.Glob("/proc/self/task/*/children") // proc_pid_children(5)
	if err != nil {
		panic(err)
	}
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for _, child := range strings.Fields(string(children)) {
			name, _ := os.ReadFile("/proc/" + child + "/cmdline")
			pid, err := strconv.Atoi(child)
			if err == nil && strings.Contains(string(name), "tbupdate-"+kind+"-") {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				return
			}
		}
	}
	panic("there is no plugin to kill")
}

func place(kind generation.OperationKind, step update.Step, phase update.Phase) string {
	return strings.Join([]string{string(kind), string(step), string(phase)}, "/")
}

func runObserved(arguments []string, observe func(generation.OperationKind, update.Step, update.Phase)) {
	ctx, stop := watchSignals(context.Background())
	defer stop()
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, now: time.Now, observe: observe, rebooter: noReboot{}}
	os.Exit(p.run(ctx, arguments))
}

// noReboot is the rebooter of all tests: the machine that runs them is not to go down,
// whatever they do.
type noReboot struct{}

func (noReboot) Request(context.Context) error { return errors.New("the tests do not reboot") }
func (noReboot) Force() error                  { return errors.New("the tests do not reboot") }
