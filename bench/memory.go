package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// memoryInterval is short against the programs' run time, and long against what a look takes.
// The kernel keeps the peak of each process, so only what grows after the last look is
// missed.
const memoryInterval = 10 * time.Millisecond

// watchMemory waits for the process, a child of this one, to end and gives the peak of
// resident memory in bytes, its own and that of its children and theirs. Their peaks are added
// up, whenever each of them was, as far as they were there together.
//
// The figure that wait4(2) gives would not do: it counts what the child was before
// it executed the program, which is this benchmark.
func watchMemory(pid int) int64 {
	peak := int64(0)
	for {
		now, ok := residentPeak(pid)
		if !ok {
			return peak
		}
		peak = max(peak, now)
		time.Sleep(memoryInterval)
	}
}

// residentPeak adds up VmHWM of a process and of those below it (proc_pid_status(5)). It is
// not there any more once the process has ended.
func residentPeak(pid int) (int64, bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	own, ok := int64(0), false
	for line := range bytes.Lines(status) {
		if value, found := strings.CutPrefix(string(line), "VmHWM:"); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			own, ok = kib*1024, err == nil
		}
	}
	if !ok {
		return 0, false
	}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // a pattern that is well formed
	for _, task := range tasks {
		children, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		for _, child := range strings.Fields(string(children)) {
			if number, err := strconv.Atoi(child); err == nil {
				below, _ := residentPeak(number)
				own += below
			}
		}
	}
	return own, true
}
