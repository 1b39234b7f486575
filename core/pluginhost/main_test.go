package pluginhost_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trebuchet-update/tbupdate/core/pluginhost"
	"github.com/trebuchet-update/tbupdate/sdk"
)

const faultyPlugin = "github.com/trebuchet-update/tbupdate/sdk/internal/faultyplugin"

// Variables for this test program when it is run as the host that is killed.
const (
	doomedDirectory = "PLUGINHOST_TEST_DIRECTORY"
	builtProgram    = "PLUGINHOST_TEST_PROGRAM"
)

func TestMain(m *testing.M) {
	if directory, ok := os.LookupEnv(doomedDirectory); ok {
		doomedHost(directory)
	}
	os.Exit(runTests(m))
}

// runTests builds the faulty plugin once for all tests.
func runTests(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests need root: plugins must belong to root")
		return 1
	}
	directory, err := os.MkdirTemp("", "tb-plugin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(directory) }()
	program := filepath.Join(directory, "plugin")
	if output, err := exec.Command("go", "build", "-o", program, faultyPlugin).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build the faulty plugin: %v\n%s", err, output)
		return 1
	}
	if err := os.Setenv(builtProgram, program); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// install puts the faulty plugin under the name of a behaviour into a directory
// of its own.
func install(t *testing.T, kind sdk.Kind, behaviour string) (directory, program string) {
	t.Helper()
	directory = t.TempDir()
	program = filepath.Join(directory, "tbupdate-"+string(kind)+"-"+behaviour)
	if err := os.Link(os.Getenv(builtProgram), program); err != nil {
		t.Fatal(err)
	}
	return directory, program
}

// spec is for an installed faulty plugin.
func spec(t *testing.T, kind sdk.Kind, behaviour string) pluginhost.Spec {
	t.Helper()
	directory, _ := install(t, kind, behaviour)
	return pluginhost.Spec{Kind: kind, Name: behaviour, Directories: []string{directory}, RunDirectory: runDirectory(t)}
}

// runDirectory makes a directory with a short path and checks in the end that
// nothing was left in it.
func runDirectory(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "tb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := filepath.Glob(filepath.Join(directory, "plugin-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left in the run directory: %v, %v", left, err)
		}
		_ = os.RemoveAll(directory)
	})
	return directory
}

// start starts a plugin and stops it with the test.
func start(t *testing.T, spec pluginhost.Spec) *pluginhost.Process {
	t.Helper()
	p, err := pluginhost.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Stop(context.Background()) // tests that care look at it
		checkGone(t, p.PID())
	})
	return p
}

// configured is start with Configure.
func configured(t *testing.T, spec pluginhost.Spec, settings map[string]string) *pluginhost.Process {
	t.Helper()
	p := start(t, spec)
	if err := p.Configure(t.Context(), sdk.Setup{RunDirectory: spec.RunDirectory, Settings: settings}); err != nil {
		t.Fatal(err)
	}
	return p
}

func checkGone(t *testing.T, pid int) {
	t.Helper()
	if alive(pid) {
		t.Errorf("process %d is still there", pid)
	}
}

// alive says whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return !bytes.HasPrefix(after, []byte("Z"))
}

// record gives the calls that the plugin noted in its run directory.
func record(t *testing.T, directory string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(directory, "record"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

// eventually waits until the condition holds. The limit only ends a test that
// fails.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("did not come about: %s", what)
		}
	}
}
