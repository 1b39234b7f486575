package conformance

import (
	"errors"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
)

var fsLifeCases = []fsCase{
	{"describes itself before it is configured", func(t *fsTest) {
		fs := t.volume.Start(t)
		before, err := fs.Describe(t.Context())
		t.ok("Describe", err)
		if before.Kind != sdk.KindFS || before.Name == "" || before.Summary == "" {
			t.Errorf("it says of itself: %+v", before)
		}
		seen := map[string]bool{}
		for _, key := range before.Keys {
			if key.Name == "" || key.Help == "" || seen[key.Name] {
				t.Errorf("key %+v has no name, no help or a name that another has", key)
			}
			seen[key.Name] = true
		}
		t.ok("Configure", fs.Configure(t.Context(), t.setup()))
		after, err := fs.Describe(t.Context())
		t.ok("Describe after Configure", err)
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("the description changed:\n%s", diff)
		}
		t.ok("Close", fs.Close())
	}},

	{"refuses every other method before it is configured", func(t *fsTest) {
		fs := t.volume.Start(t)
		for name, call := range fsCalls(t, fs) {
			t.refused(name, call(), sdk.ErrInvalid)
		}
		t.ok("Close", fs.Close())
	}},

	{"ignores host capabilities that it does not know", func(t *fsTest) {
		fs := t.volume.Start(t)
		setup := t.setup()
		setup.HostCapabilities = []string{"grease.6f1c", "fs.exchange.atomic", ""}
		t.ok("Configure", fs.Configure(t.Context(), setup))
		t.ok("Close", fs.Close())
	}},

	{"refuses settings that it cannot work with, and leaves nothing behind", func(t *fsTest) {
		for _, name := range slices.Sorted(maps.Keys(t.volume.Refused)) {
			refused := t.volume.Refused[name]
			fs := t.volume.Start(t)
			setup := t.setup()
			setup.Settings = refused.Settings
			t.refused(name, fs.Configure(t.Context(), setup), refused.Want)
			if mounts := t.mountsBelow(setup.RunDirectory); len(mounts) > 0 {
				t.Errorf("%s: it left mounts: %v", name, mounts)
			}
			t.ok("Close", fs.Close())
		}
	}},

	{"unmounts what it mounted", func(t *fsTest) {
		o := t.openPrepared()
		o.create("snapshots/a")
		o.close()
		if mounts := t.mountsBelow(t.runDirectory); len(mounts) > 0 {
			t.Errorf("still mounted: %v", mounts)
		}
		left, err := os.ReadDir(t.runDirectory)
		if err != nil || len(left) > 0 {
			t.Errorf("left in the run directory: %v, %v", left, err)
		}
	}},

	{"shows the same after it was closed and opened", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		sealed := o.snapshot(a.Identity, "snapshots/b", true)
		t.ok("SetDefault", o.SetDefault(t.Context(), a.Identity))
		before := o.list()
		volume, err := o.Volume(t.Context())
		t.ok("Volume", err)
		o.close()

		o = t.open()
		t.same("List", before, o.list())
		again, err := o.Volume(t.Context())
		if err != nil || again.ID != volume.ID || again.Kind != volume.Kind {
			t.Errorf("Volume: %+v, %v; before %+v", again, err, volume)
		}
		if s, err := o.Default(t.Context()); err != nil || s.Identity != a.Identity {
			t.Errorf("Default: %+v, %v; want %s", s, err, a.Identity)
		}
		o.holds(o.get(sealed.Identity), "name", "snapshots/a")
		if _, err := o.StateDirectory(t.Context()); err != nil {
			t.Errorf("StateDirectory: %v", err)
		}
	}},

	{"clears away what a killed predecessor left", func(t *fsTest) {
		if t.volume.Kill == nil {
			t.Log("the plugin is not a process here")
			return
		}
		fs := t.volume.Start(t)
		t.ok("Configure", fs.Configure(t.Context(), t.setup()))
		t.volume.Kill(t, fs)
		o := t.openPrepared()
		o.create("snapshots/a")
		o.close()
		if mounts := t.mountsBelow(t.runDirectory); len(mounts) > 0 {
			t.Errorf("still mounted: %v", mounts)
		}
	}},

	{"leaves a living neighbour's mounts alone", func(t *fsTest) {
		first := t.openPrepared()
		a := first.create("snapshots/a")
		second := t.open()
		first.holds(a, "name", "snapshots/a")
		second.holds(second.get(a.Identity), "name", "snapshots/a")
		second.close()
		first.holds(a, "name", "snapshots/a")
	}},

	{"returns at once when the context is over, and can be asked again", func(t *fsTest) {
		o := t.openPrepared()
		before := o.list()
		ctx := cancelled()
		if _, err := o.List(ctx); !isCancelled(err) {
			t.Errorf("List: %v", err)
		}
		if _, err := o.Volume(ctx); !isCancelled(err) {
			t.Errorf("Volume: %v", err)
		}
		if _, err := o.Check(ctx); !isCancelled(err) {
			t.Errorf("Check: %v", err)
		}
		if err := o.Prepare(ctx); err != nil && !isCancelled(err) {
			t.Errorf("Prepare: %v", err)
		}
		t.same("List", before, o.list())
		t.ok("Prepare again", o.Prepare(t.Context()))
	}},

	{"checks without changing anything", func(t *fsTest) {
		o := t.open()
		before := o.list()
		for range 2 {
			findings, err := o.Check(t.Context())
			t.ok("Check", err)
			for _, f := range findings {
				if f.Subject == "" || f.Problem == "" || f.Remedy == "" ||
					!slices.Contains([]sdk.Severity{sdk.SeverityNote, sdk.SeverityWarning, sdk.SeverityBlocking}, f.Severity) {
					t.Errorf("finding without its parts: %+v", f)
				}
			}
		}
		t.same("List", before, o.list())
	}},

	{"measures its room", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		t.ok("Flush", o.Flush(t.Context()))
		before, err := o.Volume(t.Context())
		t.ok("Volume", err)
		if before.Kind == "" || before.ID == "" || before.Device == "" ||
			before.TotalBytes == 0 || before.FreeBytes == 0 || before.FreeBytes > before.TotalBytes || before.MetadataFreeBytes == 0 {
			t.Errorf("Volume: %+v", before)
		}
		const size = 16 << 20
		o.write(a, "big", incompressible(size))
		t.ok("Flush", o.Flush(t.Context()))
		after, err := o.Volume(t.Context())
		t.ok("Volume", err)
		if used := before.FreeBytes - after.FreeBytes; after.FreeBytes > before.FreeBytes || used < size/2 || used > 4*size {
			t.Errorf("after %d bytes were written the room went from %d to %d", size, before.FreeBytes, after.FreeBytes)
		}
	}},
}

func isCancelled(err error) bool { return errors.Is(err, sdk.ErrCancelled) }

// fsCalls gives a call of every method that needs Configure.
func fsCalls(t testing.TB, fs sdk.FS) map[string]func() error {
	ctx := t.Context()
	return map[string]func() error{
		"Check":           func() error { _, err := fs.Check(ctx); return err },
		"Volume":          func() error { _, err := fs.Volume(ctx); return err },
		"Prepare":         func() error { return fs.Prepare(ctx) },
		"List":            func() error { _, err := fs.List(ctx); return err },
		"Lookup":          func() error { _, err := fs.Lookup(ctx, "a"); return err },
		"Get":             func() error { _, err := fs.Get(ctx, "1"); return err },
		"Snapshot":        func() error { _, err := fs.Snapshot(ctx, "1", "a", true); return err },
		"Rename":          func() error { return fs.Rename(ctx, "1", "a") },
		"Exchange":        func() error { return fs.Exchange(ctx, "a", "1") },
		"Delete":          func() error { return fs.Delete(ctx, "1") },
		"Seal":            func() error { return fs.Seal(ctx, "1") },
		"Flush":           func() error { return fs.Flush(ctx) },
		"Default":         func() error { _, err := fs.Default(ctx); return err },
		"SetDefault":      func() error { return fs.SetDefault(ctx, "1") },
		"KernelArguments": func() error { _, err := fs.KernelArguments(ctx, "1"); return err },
		"Booted":          func() error { _, err := fs.Booted(ctx, "quiet"); return err },
		"StateDirectory":  func() error { _, err := fs.StateDirectory(ctx); return err },
		"Changes":         func() error { return fs.Changes(ctx, "1", "2", func(sdk.Change) error { return nil }) },
	}
}
