package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// readFault gives the fault that this process is to have: that of the file beside its
// program, none where there is no file. It happens once, and takes the file away.
func readFault() *fault {
	f := &fault{strike: strike}
	content, err := os.ReadFile(faultFile(os.Args[0]))
	if os.IsNotExist(err) {
		return f
	}
	if err == nil {
		_, err = fmt.Sscan(string(content), &f.mode, &f.call, &f.n, &f.process)
	}
	if err == nil && f.process > 0 {
		f.process--
		err = f.write(os.Args[0])
		f = &fault{strike: strike}
	}
	if err != nil {
		panic(err)
	}
	return f
}

// strike stops or kills this process. It returns when a stopped one goes on.
func strike(mode faultMode) {
	signal := syscall.SIGKILL
	if mode == hangsBefore || mode == hangsAfter {
		signal = syscall.SIGSTOP
	}
	if err := os.Remove(faultFile(os.Args[0])); err != nil {
		panic(err)
	}
	// Only a signal to this thread is sure to have come before the call goes on.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Tgkill(os.Getpid(), unix.Gettid(), signal); err != nil {
		panic(err)
	}
}
