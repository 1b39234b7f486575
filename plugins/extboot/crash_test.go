package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/conformance"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

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

// An Install that fails on its way, wherever that is, leaves nothing behind.
func TestInstallFailsOnItsWay(t *testing.T) {
	for _, p := range platforms() {
		t.Run(p.String(), func(t *testing.T) {
			_, dir := p.newDevice(t)
			plugin := openPlugin(t, dir)
			mustInstall(t, plugin, testEntry(t, "a1"))
			mustDo(t, plugin.SetDefault(t.Context(), "a1"))
			entry := testEntry(t, "b2")
			before := listNames(t, dir)
			for looks := int32(0); ; looks++ {
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
				if diff := cmp.Diff(before, listNames(t, dir)); diff != "" {
					t.Fatalf("cancelled at look %d, it left:\n%s", looks, diff)
				}
			}
			mustDo(t, plugin.Verify(t.Context(), "b2"))
		})
	}
}

// listNames gives every path with its size and, for small files, its content.
func listNames(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	mustDo(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		found[path] = entry.Type().String()
		if entry.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found[path] = fmt.Sprintf("%d %.2000q", len(data), data)
		}
		return nil
	}))
	return found
}

// The plugin is killed at some instant of an Install; the next one finds what boots
// unharmed, and finishes.
func TestKilledDuringInstall(t *testing.T) {
	program := conformance.Build(t, ".")
	for _, p := range []platform{{loopback.Ext4, loaderGRUB}, {loopback.Ext3, loaderExtlinux}, {loopback.Ext4, loaderSdboot}, {loopback.Ext4, loaderXbootldr}} {
		t.Run(p.String(), func(t *testing.T) {
			_, dir := p.newDevice(t)
			inside := openPlugin(t, dir)
			mustInstall(t, inside, testEntry(t, "a1"))
			mustDo(t, inside.SetDefault(t.Context(), "a1"))
			entry := testEntry(t, "b2")
			writeText(t, filepath.Join(entry.Root, "boot/initrd.img-6.1"), strings.Repeat("initrd", 1<<20))
			for try := range 12 {
				killDuringInstall(t, program, p.settings(dir), entry, time.Duration(try)*8*time.Millisecond)
				again := openPlugin(t, dir)
				state, err := again.State(t.Context())
				mustDo(t, err)
				if state.Default != "a1" || state.Trial != "" || state.Entries[0].Problem != "" {
					t.Fatalf("after a kill: %+v", state)
				}
				mustDo(t, again.Verify(t.Context(), "a1"))
				if try%2 == 0 {
					mustDo(t, again.Remove(t.Context(), "b2"))
					continue
				}
				mustInstall(t, again, entry)
				mustDo(t, again.Verify(t.Context(), "b2"))
				mustDo(t, again.Remove(t.Context(), "b2"))
			}
		})
	}
}

func killDuringInstall(t *testing.T, program string, settings map[string]string, entry sdk.Entry, after time.Duration) {
	t.Helper()
	process := conformance.Start(t, program)
	boot := process.Boot()
	mustDo(t, boot.Configure(t.Context(), sdk.Setup{Settings: settings, RunDirectory: t.TempDir()}))
	done := make(chan error, 1)
	go func() { _, err := boot.Install(t.Context(), entry); done <- err }()
	time.Sleep(after)
	mustDo(t, syscall.Kill(process.PID(), syscall.SIGKILL))
	<-done // an error, or an Install that was faster
	<-process.Exited()
	_ = process.Stop(t.Context()) // it says that it was killed
}
