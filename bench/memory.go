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

// residentPeak adds up the peaks of a process and of those below it. It is not there any more once
// the process has ended.
func residentPeak(pid int) (int64, bool) {
	own, ok := ownPeak(pid)
	if !ok {
		return 0, false
	}
	return own + peakBelow(pid), true
}

// peakBelow adds up the peaks of those below a process. A child that runs its parent's program has
// not executed its own yet, and its memory is the parent's (vfork(2)).
func peakBelow(pid int) int64 {
	sum := int64(0)
	program := programOf(pid)
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // a pattern that is well formed
	for _, task := range tasks {
		children, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		for _, field := range strings.Fields(string(children)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			if programOf(child) != program {
				own, _ := ownPeak(child)
				sum += own
			}
			sum += peakBelow(child)
		}
	}
	return sum
}

// ownPeak gives a process's VmHWM (proc_pid_status(5)) in bytes.
func ownPeak(pid int) (int64, bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(status) {
		if value, found := strings.CutPrefix(string(line), "VmHWM:"); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib * 1024, err == nil
		}
	}
	return 0, false
}

// programOf gives the path of the program that a process runs, "" where that is not to be had.
func programOf(pid int) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return path
}
