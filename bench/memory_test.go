package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMemoryOfAllThatRun has a program with a copy of itself, which runs another one: the copy
// does not count.
func TestMemoryOfAllThatRun(t *testing.T) {
	t.Parallel()
	command := exec.Command("bash", "-c", "( sleep 60; true ); true")
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		_ = command.Wait()
	}()
	var all, want int64
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		// Looked at anew each time: a program that begins still grows.
		shell, _ := ownPeak(command.Process.Pid)
		sleeper := childOf(childOf(command.Process.Pid))
		if !strings.HasSuffix(programOf(sleeper), "/sleep") {
			continue
		}
		slept, _ := ownPeak(sleeper)
		want = shell + slept
		if all, _ = residentPeak(command.Process.Pid); all == want {
			return
		}
	}
	t.Errorf("%d bytes are counted, want %d", all, want)
}

// childOf gives the only child of a process, 0 for none.
func childOf(pid int) int {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	child, _ := strconv.Atoi(strings.TrimSpace(string(children)))
	return child
}
