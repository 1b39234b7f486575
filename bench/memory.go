package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// memoryInterval is short against the programs' run time. The kernel keeps the
// peak, so only what grows after the last look is missed.
const memoryInterval = 5 * time.Millisecond

// watchMemory waits for the process, a child of this one, to end and gives the
// peak of its resident memory in bytes.
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

// residentPeak reads VmHWM of a process (proc_pid_status(5)). It is not there any
// more once the process has ended.
func residentPeak(pid int) (int64, bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(status) {
		if value, ok := strings.CutPrefix(string(line), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib * 1024, err == nil
		}
	}
	return 0, false
}
