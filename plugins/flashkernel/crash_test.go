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
)

// listNames gives every path with its size and, for small files, its content.
func listNames(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
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
	methods(t, func(t *testing.T, m *machine) {
		p := m.open(t)
		_, err := p.Install(t.Context(), m.entry(t, "a1"))
		m.must(err)
		m.must(p.SetDefault(t.Context(), "a1"))
		entry := m.entry(t, "b2")
		before := listNames(t, m.boot)
		for looks := int32(0); ; looks += 3 {
			ctx := &lapsingContext{Context: t.Context()}
			ctx.looks.Store(looks)
			_, err := p.Install(ctx, entry)
			if err == nil {
				if looks < 3 {
					t.Errorf("Install looked at its context %d times", looks)
				}
				break
			}
			if !errors.Is(err, sdk.ErrCancelled) {
				t.Fatalf("error %v, want cancelled", err)
			}
			if diff := cmp.Diff(before, listNames(t, m.boot)); diff != "" {
				t.Fatalf("cancelled at look %d, it left:\n%s", looks, diff)
			}
		}
		m.must(p.Verify(t.Context(), "b2"))
	})
}

// The plugin is killed at some instant of an Install; the next one finds what boots
// unharmed, and finishes. The power goes at the same instant: U-Boot boots the default.
func TestKilledDuringInstall(t *testing.T) {
	started := conformance.Build(t, ".")
	methods(t, func(t *testing.T, m *machine) {
		p := m.open(t)
		_, err := p.Install(t.Context(), m.entry(t, "a1"))
		m.must(err)
		m.must(p.SetDefault(t.Context(), "a1"))
		entry := m.entry(t, "b2")
		m.must(os.WriteFile(filepath.Join(entry.Root, "boot/initrd.img-"+testVersion), []byte(strings.Repeat("initrd", 1<<20)), 0o644))
		for try := range 6 {
			m.killDuringInstall(t, started, entry, time.Duration(try)*60*time.Millisecond)
			m.wantBoot("a1")
			again := m.open(t)
			m.wantDefault(again, "a1")
			if try%2 == 0 {
				m.must(again.Remove(t.Context(), "b2"))
				continue
			}
			_, err := again.Install(t.Context(), entry)
			m.must(err)
			m.must(again.Verify(t.Context(), "b2"))
			m.must(again.Remove(t.Context(), "b2"))
		}
	})
}

func (m *machine) killDuringInstall(t *testing.T, program string, entry sdk.Entry, after time.Duration) {
	t.Helper()
	process := conformance.Start(t, program)
	boot := process.Boot()
	m.must(boot.Configure(t.Context(), sdk.Setup{Settings: m.settings(), RunDirectory: t.TempDir()}))
	done := make(chan error, 1)
	go func() { _, err := boot.Install(t.Context(), entry); done <- err }()
	time.Sleep(after)
	m.must(syscall.Kill(process.PID(), syscall.SIGKILL))
	<-done // an error, or an Install that was faster
	<-process.Exited()
	_ = process.Stop(t.Context()) // it says that it was killed
}

// The first Install puts the chooser before what U-Boot boots. At every instant of
// that U-Boot boots the same as before.
func TestKilledDuringTakeOver(t *testing.T) {
	started := conformance.Build(t, ".")
	methods(t, func(t *testing.T, m *machine) {
		entry := m.entry(t, "a1")
		for try := range 6 {
			m.killDuringInstall(t, started, entry, time.Duration(try)*60*time.Millisecond)
			m.wantBoot("foreign")
		}
		p := m.open(t)
		_, err := p.Install(t.Context(), entry)
		m.must(err)
		m.wantBoot("foreign")
		m.must(p.SetDefault(t.Context(), "a1"))
		m.wantBoot("a1")
	})
}
