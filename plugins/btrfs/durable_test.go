package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// TestChangesAreDurableWhenTheyReturn copies the disk as it is in the instant in
// which a method returned, and looks at the copy: that is what a machine finds
// that lost its power then. btrfs by itself commits every 30 seconds, so that
// nothing is on the disk by chance.
func TestChangesAreDurableWhenTheyReturn(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b *bench) error
		check  func(b *bench)
	}{
		{"Prepare", func(b *bench) error { return b.fs.Prepare(b.t.Context()) }, func(b *bench) {
			if _, err := b.fs.StateDirectory(b.t.Context()); err != nil {
				b.t.Error(err)
			}
		}},
		{"Snapshot", func(b *bench) error {
			b.write("snapshots/root", "file", "fresh")
			_, err := b.fs.Snapshot(b.t.Context(), b.id("snapshots/root"), "snapshots/new", true)
			return err
		}, func(b *bench) { b.holds("snapshots/new", "file", "fresh") }},
		{"Rename", func(b *bench) error { return b.fs.Rename(b.t.Context(), b.id("snapshots/other"), "snapshots/renamed") },
			func(b *bench) { b.holds("snapshots/renamed", "name", "snapshots/other") }},
		{"Exchange", func(b *bench) error {
			return b.fs.Exchange(b.t.Context(), "snapshots/root", b.id("snapshots/other"))
		}, func(b *bench) {
			b.holds("snapshots/root", "name", "snapshots/other")
			b.holds("snapshots/other", "name", "snapshots/root")
		}},
		{"Delete", func(b *bench) error { return b.fs.Delete(b.t.Context(), b.id("snapshots/other")) }, func(b *bench) {
			if s, err := b.fs.Lookup(b.t.Context(), "snapshots/other"); err == nil {
				b.t.Errorf("it is back: %+v", s)
			}
		}},
		{"Seal", func(b *bench) error {
			b.write("snapshots/other", "file", "fresh")
			return b.fs.Seal(b.t.Context(), b.id("snapshots/other"))
		}, func(b *bench) {
			b.holds("snapshots/other", "file", "fresh")
			if !b.lookup("snapshots/other").ReadOnly {
				b.t.Error("it is writable")
			}
		}},
		{"Flush", func(b *bench) error {
			b.write("snapshots/other", "file", "fresh")
			return b.fs.Flush(b.t.Context())
		}, func(b *bench) { b.holds("snapshots/other", "file", "fresh") }},
		{"SetDefault", func(b *bench) error { return b.fs.SetDefault(b.t.Context(), b.id("snapshots/other")) }, func(b *bench) {
			if s, err := b.fs.Default(b.t.Context()); err != nil || s.Name != "snapshots/other" {
				b.t.Errorf("the default is %+v, %v", s, err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, loopback.Options{})
			b.create("snapshots/root")
			b.create("snapshots/other")
			b.open()
			if err := b.fs.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.change(b); err != nil {
				t.Fatal(err)
			}
			copied := filepath.Join(t.TempDir(), "copy.img")
			run(t, "cp", "--sparse=always", b.device.Image, copied)
			// The kernel mounts no two filesystems with one UUID at a time.
			b.close()
			b.device.Close(t)
			after := &bench{t: t, device: loopback.Open(t, copied, loopback.Btrfs)}
			after.open()
			c.check(after)
			after.close()
			run(t, "btrfs", "check", "--readonly", copied)
		})
	}
}

// bench is a btrfs on a loop device, and the plugin that works on it.
type bench struct {
	t      testing.TB
	device *loopback.Device
	run    string
	fs     sdk.FS
}

func newBench(t testing.TB, options loopback.Options) *bench {
	t.Helper()
	options.Filesystem = loopback.Btrfs
	return &bench{t: t, device: loopback.New(t, options)}
}

// create makes subvolumes, each with its name in the file "name".
func (b *bench) create(names ...string) {
	b.t.Helper()
	top := b.device.Mount(b.t, "subvolid=5")
	defer b.device.Unmount(b.t, top)
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(top, filepath.Dir(name)), 0o755); err != nil {
			b.t.Fatal(err)
		}
		run(b.t, "btrfs", "subvolume", "create", filepath.Join(top, name))
		if err := os.WriteFile(filepath.Join(top, name, "name"), []byte(name), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
}

// open starts the plugin with the device as its setting.
func (b *bench) open() {
	b.t.Helper()
	b.configure(sdk.Setup{Settings: map[string]string{keyDevice: b.device.Path}})
}

func (b *bench) configure(setup sdk.Setup) {
	b.t.Helper()
	if b.run == "" {
		b.run = b.t.TempDir()
	}
	setup.RunDirectory = b.run
	b.fs = newPlugin("test")
	b.t.Cleanup(b.close)
	if err := b.fs.Configure(b.t.Context(), setup); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) close() {
	if b.fs == nil {
		return
	}
	if err := b.fs.Close(); err != nil {
		b.t.Error(err)
	}
	b.fs = nil
}

func (b *bench) lookup(name string) sdk.Subvolume {
	b.t.Helper()
	s, err := b.fs.Lookup(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bench) id(name string) sdk.Identity {
	b.t.Helper()
	return b.lookup(name).Identity
}

func (b *bench) write(subvolume, name, content string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.lookup(subvolume).Path, name), []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) holds(subvolume, name, want string) {
	b.t.Helper()
	got, err := os.ReadFile(filepath.Join(b.lookup(subvolume).Path, name))
	if err != nil || string(got) != want {
		b.t.Errorf("%s of %s holds %q, %v; want %q", name, subvolume, got, err, want)
	}
}
