// Package conformance holds the suites that every plugin must pass, and what a
// test needs to run them through the real process boundary.
package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/launch"
)

// stopLimit is how long a plugin may take to close at the end of a test.
const stopLimit = time.Minute

// Build builds the plugin program of a Go package, such as "." or an import
// path, and gives its path. The program goes with the test.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "plugin")
	if output, err := exec.Command("go", "build", "-o", program, pkg).CombinedOutput(); err != nil {
		t.Fatalf("cannot build %s: %v\n%s", pkg, err, output)
	}
	return program
}

// StartFS starts a plugin program of kind fs and gives its client, so that a
// suite runs through the real process boundary.
func StartFS(t testing.TB, program string) sdk.FS {
	t.Helper()
	return Start(t, program).FS()
}

// StartBoot is StartFS for a plugin of kind boot.
func StartBoot(t testing.TB, program string) sdk.Boot {
	t.Helper()
	return Start(t, program).Boot()
}

// Start starts a plugin program, for a test that needs its process, such as to kill
// it. It has stopped before the test is over; what it wrote on standard error is in
// the test's log.
func Start(t testing.TB, program string) *launch.Process {
	t.Helper()
	file, err := os.Open(program)
	if err != nil {
		t.Fatalf("cannot open the plugin: %v", err)
	}
	defer func() { _ = file.Close() }() // read-only
	process, err := launch.Start(t.Context(), launch.Config{
		Program:      file,
		Path:         program,
		RunDirectory: runDirectory(t),
		StartTimeout: time.Minute, // the machine may be busy with other tests
	})
	if err != nil {
		t.Fatalf("cannot start the plugin %s: it %v", program, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		if err := process.Stop(ctx); err != nil {
			t.Errorf("plugin %s: %v", program, err)
		}
		for _, line := range process.LastLines() {
			t.Logf("plugin: %s", line)
		}
	})
	return process
}

// runDirectory makes a directory whose path is short enough for a socket, which
// t.TempDir's may not be.
func runDirectory(t testing.TB) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "tb")
	if err != nil {
		t.Fatalf("cannot make a directory for the plugin: %v", err)
	}
	t.Cleanup(func() { _ = os.Remove(directory) }) // empty, or worth looking at
	return directory
}
