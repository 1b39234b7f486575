package launch_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/launch"
)

const faultyPlugin = "github.com/trebuchet-update/tbupdate/sdk/internal/faultyplugin"

// build builds the faulty plugin under the name of a behaviour.
func build(t *testing.T, name string) (program *os.File, run string) {
	t.Helper()
	run, err := os.MkdirTemp("", "tb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	path := filepath.Join(t.TempDir(), name)
	if output, err := exec.Command("go", "build", "-o", path, faultyPlugin).CombinedOutput(); err != nil {
		t.Fatalf("cannot build the faulty plugin: %v\n%s", err, output)
	}
	if program, err = os.Open(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return program, run
}

// TestProcess goes through the life of a plugin without a host's policy, as a
// vendor's test does.
func TestProcess(t *testing.T) {
	program, run := build(t, "tbupdate-fs-good")
	p, err := launch.Start(t.Context(), launch.Config{Program: program, Path: program.Name(), RunDirectory: run})
	if err != nil {
		t.Fatal(err)
	}
	fs := p.FS()
	if d, err := fs.Describe(t.Context()); err != nil || d.Name != "good" {
		t.Errorf("Describe gave %v, %v", d, err)
	}
	if err := fs.Configure(t.Context(), sdk.Setup{}); err != nil {
		t.Error(err)
	}
	if _, err := fs.Lookup(t.Context(), "nothing"); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("Lookup gave %v", err)
	}
	comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID()), "comm"))
	if err != nil || string(comm) != "tbupdate-fs-goo\n" { // TASK_COMM_LEN is 16
		t.Errorf("ps calls it %q, %v", comm, err)
	}
	if err := fs.Close(); err != nil {
		t.Error(err)
	}
	<-p.Exited()
	if p.ExitStatus() != "exit status 0" {
		t.Errorf("it ended with %s", p.ExitStatus())
	}
	if left, err := os.ReadDir(run); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestRemovalDoesNotDescend: what a plugin mounted in its directory outlives
// the removal of that.
func TestRemovalDoesNotDescend(t *testing.T) {
	program, run := build(t, "tbupdate-fs-good")
	p, err := launch.Start(t.Context(), launch.Config{Program: program, Path: program.Name(), RunDirectory: run})
	if err != nil {
		t.Fatal(err)
	}
	private, err := filepath.Glob(filepath.Join(run, "plugin-*"))
	if err != nil || len(private) != 1 {
		t.Fatalf("private directories: %v, %v", private, err)
	}
	precious := filepath.Join(private[0], "mounted", "precious")
	if err := os.Mkdir(filepath.Dir(precious), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(precious, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}
