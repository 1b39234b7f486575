package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trebuchet-update/tbupdate/sdk/conformance"
)

// An Install that fails on its way, wherever that is, leaves nothing behind.
func TestInstallFailsOnItsWay(t *testing.T) {
	methods(t, func(t *testing.T, m *machine) {
		p := m.openDefault(t, "a1")
		conformance.CancelInstall(t, p, m.boot, m.entry(t, "b2"), 3) // each takes a second
	})
}

// The plugin is killed at some instant of an Install; the next one finds what boots
// unharmed, and finishes. The power goes at the same instant: U-Boot boots the default.
func TestKilledDuringInstall(t *testing.T) {
	started := conformance.Build(t, ".")
	methods(t, func(t *testing.T, m *machine) {
		m.openDefault(t, "a1")
		entry := m.entry(t, "b2")
		m.must(os.WriteFile(filepath.Join(entry.Root, "boot/initrd.img-"+testVersion), []byte(strings.Repeat("initrd", 1<<20)), 0o644))
		for try := range 6 {
			conformance.KillInstall(t, started, m.settings(), entry, time.Duration(try)*60*time.Millisecond)
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

// The first Install puts the chooser before what U-Boot boots. At every instant of
// that U-Boot boots the same as before.
func TestKilledDuringTakeOver(t *testing.T) {
	started := conformance.Build(t, ".")
	methods(t, func(t *testing.T, m *machine) {
		entry := m.entry(t, "a1")
		for try := range 6 {
			conformance.KillInstall(t, started, m.settings(), entry, time.Duration(try)*60*time.Millisecond)
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
