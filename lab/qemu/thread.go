package qemu

import (
	"runtime"
	"sync"
)

var lasting struct {
	once sync.Once
	work chan func()
}

// onLastingThread runs f on a thread that is locked to a goroutine that never ends.
// Go ends threads as it likes, and with the thread that started it a process that
// has a Pdeathsig.
func onLastingThread(f func() error) error {
	lasting.once.Do(func() {
		lasting.work = make(chan func())
		go func() {
			runtime.LockOSThread()
			for work := range lasting.work {
				work()
			}
		}()
	})
	result := make(chan error)
	lasting.work <- func() { result <- f() }
	return <-result
}
