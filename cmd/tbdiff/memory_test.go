package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// memoryLimit is what the program may need at most, however large a file is.
const memoryLimit = 32 << 20

// TestMemoryIsBounded writes the stream of a file of 1 GiB into a pipe, and looks how much memory
// the program has needed when it is nearly done. It is the program as it is shipped: the race
// detector keeps memory of its own.
func TestMemoryIsBounded(t *testing.T) {
	origin, target := t.TempDir(), t.TempDir()
	for _, top := range []string{origin, target} {
		if err := os.WriteFile(filepath.Join(top, "file"), []byte(filepath.Base(top)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const size = 1 << 30
	if err := os.Truncate(filepath.Join(target, "file"), size); err != nil {
		t.Fatal(err)
	}
	built := filepath.Join(t.TempDir(), "tbdiff")
	mustRun(t, "go", "build", "-o", built, ".")
	program := exec.Command(built, "create", "--format", "v0", "-o", "-", origin, target)
	program.Stderr = os.Stderr
	stream, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	// More stays unread than a pipe and the program's buffer hold: so it waits.
	if _, err := io.CopyN(io.Discard, stream, size-(4<<20)); err != nil {
		t.Error(err)
	}
	peak := peakMemory(t, program.Process.Pid)
	if _, err := io.Copy(io.Discard, stream); err != nil {
		t.Error(err)
	}
	if err := program.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("the program has needed %d KiB", peak>>10)
	if peak > memoryLimit {
		t.Errorf("the program has needed %d bytes, more than %d", peak, memoryLimit)
	}
}

// peakMemory gives the most that a process has had in memory, in bytes (proc(5),
// VmHWM).
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if match == nil {
		t.Fatalf("no VmHWM in the status of process %d", pid)
	}
	kibibytes, err := strconv.Atoi(string(match[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kibibytes << 10
}
