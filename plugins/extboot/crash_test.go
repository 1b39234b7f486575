package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trebuchet-update/tbupdate/sdk/conformance"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// An Install that fails on its way, wherever that is, leaves nothing behind.
func TestInstallFailsOnItsWay(t *testing.T) {
	for _, p := range platforms() {
		t.Run(p.String(), func(t *testing.T) {
			dir, plugin, _ := p.newDefault(t)
			conformance.CancelInstall(t, plugin, dir, testEntry(t, "b2"), 1)
		})
	}
}

// The plugin is killed at some instant of an Install; the next one finds what boots
// unharmed, and finishes.
func TestKilledDuringInstall(t *testing.T) {
	program := conformance.Build(t, ".")
	for _, p := range []platform{{loopback.Ext4, loaderGRUB}, {loopback.Ext3, loaderExtlinux}, {loopback.Ext4, loaderSdboot}, {loopback.Ext4, loaderXbootldr}} {
		t.Run(p.String(), func(t *testing.T) {
			dir, _, _ := p.newDefault(t)
			entry := testEntry(t, "b2")
			writeText(t, filepath.Join(entry.Root, "boot/initrd.img-6.1"), strings.Repeat("initrd", 1<<20))
			for try := range 12 {
				conformance.KillInstall(t, program, p.settings(dir), entry, time.Duration(try)*8*time.Millisecond)
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
