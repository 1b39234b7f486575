package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// These break an Install off. They want what a suite does not have: a plugin in this
// process, whose every look at its context counts, or the program of one.

// lapsingContext is cancelled after so many looks at it.
type lapsingContext struct {
	context.Context
	looks atomic.Int32
}

func (c *lapsingContext) Err() error {
	if c.looks.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// CancelInstall cancels an Install of the entry, which is not there yet, at its first look
// at the context, then at a later one, and so on in steps, until one comes to its end.
// Whatever was cancelled leaves nothing behind in the directory of the boot filesystem.
func CancelInstall(t *testing.T, plugin sdk.Boot, directory string, entry sdk.Entry, step int32) {
	t.Helper()
	before := Contents(t, directory)
	for looks := int32(0); ; looks += step {
		ctx := &lapsingContext{Context: t.Context()}
		ctx.looks.Store(looks)
		_, err := plugin.Install(ctx, entry)
		if err == nil {
			if looks < 3 {
				t.Errorf("Install looked at its context %d times", looks)
			}
			break
		}
		if !errors.Is(err, sdk.ErrCancelled) {
			t.Fatalf("error %v, want cancelled", err)
		}
		if diff := cmp.Diff(before, Contents(t, directory)); diff != "" {
			t.Fatalf("cancelled at look %d, it left:\n%s", looks, diff)
		}
	}
	if err := plugin.Verify(t.Context(), entry.ID); err != nil {
		t.Fatal(err)
	}
}

// KillInstall starts the program of a plugin, has it install the entry, and kills it after
// that time.
func KillInstall(t *testing.T, program string, settings map[string]string, entry sdk.Entry, after time.Duration) {
	t.Helper()
	process := Start(t, program)
	boot := process.Boot()
	if err := boot.Configure(t.Context(), sdk.Setup{Settings: settings, RunDirectory: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := boot.Install(t.Context(), entry); done <- err }()
	time.Sleep(after)
	if err := syscall.Kill(process.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-done // an error, or an Install that was faster
	<-process.Exited()
	_ = process.Stop(t.Context()) // it says that it was killed
}

// Contents gives every path below a directory with what it is, and for a file its size and
// the beginning of what is in it: not its times, so that what is written again is the same.
func Contents(t testing.TB, directory string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		found[path] = entry.Type().String()
		if entry.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found[path] = fmt.Sprintf("%d %.5000q", len(data), data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
