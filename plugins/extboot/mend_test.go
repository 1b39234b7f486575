package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/conformance"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// loaders are the platforms with one filesystem each.
func loaders() []platform {
	return []platform{{loopback.Ext4, loaderGRUB}, {loopback.Ext4, loaderExtlinux}, {loopback.Ext4, loaderSdboot}, {loopback.Ext4, loaderXbootldr}}
}

// Everything of the default and of the trial can be mended while they are that, not
// only the kernel set: the loader's own files and the record too.
func TestMendsEveryFileOfWhatBoots(t *testing.T) {
	for _, p := range loaders() {
		t.Run(p.String(), func(t *testing.T) {
			dir, plugin, entry := p.newDefault(t)
			record := filepath.Join(dir, "tbupdate/a1/record.json") // which also has an estimate of the room
			list := func() map[string]string {
				names := conformance.Contents(t, dir)
				delete(names, record)
				return names
			}
			want := list()
			for path := range conformance.Contents(t, dir) {
				if !strings.HasPrefix(path, filepath.Join(dir, "tbupdate/a1")+"/") {
					continue
				}
				for name, damage := range map[string]func(){
					"gone":    func() { mustDo(t, os.Remove(path)) },
					"changed": func() { writeText(t, path, "x") },
				} {
					damage()
					mustInstall(t, plugin, entry)
					mustDo(t, plugin.Verify(t.Context(), "a1"))
					if diff := cmp.Diff(want, list()); diff != "" {
						t.Errorf("%s %s:\n%s", path, name, diff)
					}
				}
			}
			state, err := plugin.State(t.Context())
			if err != nil || state.Default != "a1" || state.Entries[0].Problem != "" {
				t.Errorf("state %+v %v", state, err)
			}
		})
	}
}

// What is not damaged but other than asked stays, also without a record to tell.
func TestOtherArgumentsAreNoDamage(t *testing.T) {
	for _, p := range loaders() {
		t.Run(p.String(), func(t *testing.T) {
			dir, plugin, entry := p.newDefault(t)
			mustDo(t, os.Remove(filepath.Join(dir, "tbupdate/a1/record.json")))
			before := conformance.Contents(t, dir)
			entry.Arguments = []string{"root=UUID=other"}
			if _, err := plugin.Install(t.Context(), entry); !errors.Is(err, sdk.ErrBusy) {
				t.Errorf("error %v, want busy", err)
			}
			if diff := cmp.Diff(before, conformance.Contents(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A loader that would stop at a kernel that ends too early never gets one.
func TestKernelThatIsCutShort(t *testing.T) {
	for _, p := range loaders() {
		t.Run(p.String(), func(t *testing.T) {
			_, dir := p.newDevice(t)
			plugin := openPlugin(t, dir)
			entry := testEntry(t, "a1")
			image := talkerImage(t)
			writeText(t, filepath.Join(entry.Root, "boot/vmlinuz-6.1"), string(image[:len(image)-1]))
			before := conformance.Contents(t, dir)
			_, err := plugin.Install(t.Context(), entry)
			if p.loader == loaderGRUB { // which boots the default then (TestGRUBWithDamage)
				mustDo(t, err)
				return
			}
			if !errors.Is(err, sdk.ErrNoKernel) || !strings.Contains(err.Error(), "1023 bytes of 1024") {
				t.Errorf("error %v, want no kernel, with the numbers", err)
			}
			if _, err := plugin.Inspect(t.Context(), entry.Root); !errors.Is(err, sdk.ErrNoKernel) {
				t.Errorf("Inspect: %v", err)
			}
			if diff := cmp.Diff(before, conformance.Contents(t, dir)); diff != "" {
				t.Error(diff)
			}
			writeText(t, filepath.Join(entry.Root, "boot/vmlinuz-6.1"), string(image))
			mustInstall(t, plugin, entry)
		})
	}
}

// fillingContext lets somebody else fill the filesystem after so many looks at it.
type fillingContext struct {
	context.Context
	looks int
	fill  func()
}

func (c *fillingContext) Err() error {
	if c.looks--; c.looks == 0 {
		c.fill()
	}
	return nil
}

// Room that was there when it was measured is used up by others on the way: all that
// was written is removed again, and what boots is as before.
func TestRoomRunsOutOnTheWay(t *testing.T) {
	for _, p := range loaders() {
		t.Run(p.String(), func(t *testing.T) {
			dir, plugin, _ := p.newDefault(t)
			entry := testEntry(t, "b2")
			writeText(t, filepath.Join(entry.Root, "boot/initrd.img-6.1"), strings.Repeat("initrd", 50_000))
			before := conformance.Contents(t, dir)
			filler := filepath.Join(dir, "filler")
			refused := 0
			for looks := 1; ; looks++ {
				ctx := &fillingContext{Context: t.Context(), looks: looks, fill: func() { fillUp(t, filler) }}
				_, err := plugin.Install(ctx, entry)
				if ctx.looks > 0 {
					mustDo(t, err)
					break // it ended before
				}
				mustDo(t, os.Remove(filler))
				if err == nil { // all of it was written by then
					mustDo(t, plugin.Remove(t.Context(), "b2"))
					continue
				}
				refused++
				if !errors.Is(err, sdk.ErrNoSpace) {
					t.Fatalf("error %v, want no space", err)
				}
				if diff := cmp.Diff(before, conformance.Contents(t, dir)); diff != "" {
					t.Fatalf("full at look %d, it left:\n%s", looks, diff)
				}
				mustDo(t, plugin.Verify(t.Context(), "a1"))
			}
			if refused < 5 {
				t.Errorf("only %d Installs ran out of room", refused)
			}
		})
	}
}

// fillUp makes a file as big as it can be.
func fillUp(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	mustDo(t, err)
	defer file.Close()
	for at, size := int64(0), int64(64<<20); size >= 1024; {
		switch err := unix.Fallocate(int(file.Fd()), 0, at, size); {
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		case err == nil:
			at += size
		case !errors.Is(err, unix.EINTR):
			t.Fatal(err)
		}
	}
}
