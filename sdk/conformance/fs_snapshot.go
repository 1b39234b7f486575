package conformance

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk"
)

var fsSnapshotCases = []fsCase{
	{"snapshots hold the content and are independent", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		o.write(a, "file", "before") // and not flushed
		writable := o.snapshot(a.Identity, "snapshots/writable", false)
		sealed := o.snapshot(a.Identity, "snapshots/sealed", true)
		o.write(a, "file", "changed in the origin")
		o.write(writable, "file", "changed in the copy")
		o.holds(a, "file", "changed in the origin")
		o.holds(writable, "file", "changed in the copy")
		o.holds(sealed, "file", "before")
		o.writeRefused(sealed)
		for _, s := range []sdk.Subvolume{writable, sealed} {
			if s.Origin != a.Identity || s.Identity == a.Identity || s.ReadOnly != (s.Identity == sealed.Identity) {
				t.Errorf("what was made says of itself: %+v", s)
			}
			if age := time.Since(s.Created); age < -time.Minute || age > time.Hour {
				t.Errorf("%s was made at %v", s.Name, s.Created)
			}
		}
		again := o.snapshot(sealed.Identity, "snapshots/of-sealed", false)
		o.write(again, "file", "writable again")
		o.holds(sealed, "file", "before")
	}},

	{"a revision tells what was changed", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		t.ok("Flush", o.Flush(t.Context()))
		if a = o.get(a.Identity); a.Revision == "" {
			t.Log("this filesystem cannot tell")
			return
		}
		sealed := o.snapshot(a.Identity, "snapshots/sealed", true)
		copied := o.snapshot(sealed.Identity, "snapshots/copy", true)
		writable := o.snapshot(sealed.Identity, "snapshots/writable", false)
		for _, s := range []sdk.Subvolume{sealed, copied, writable} {
			if s.Revision != a.Revision {
				t.Errorf("%s has the revision %s, and is a snapshot of one with %s", s.Name, s.Revision, a.Revision)
			}
		}
		seen := map[string]string{a.Revision: "nothing"}
		name := filepath.Join(writable.Path, "name")
		for _, change := range []struct {
			what string
			make func() error
		}{
			{"a new file", func() error { return os.WriteFile(filepath.Join(writable.Path, "file"), []byte("1"), 0o600) }},
			{"content of the same size", func() error { return os.WriteFile(filepath.Join(writable.Path, "file"), []byte("2"), 0o600) }},
			{"a mode", func() error { return os.Chmod(name, 0o600) }},
			{"an attribute", func() error { return unix.Lsetxattr(name, "user.a", []byte("1"), 0) }},
			{"times set back", func() error { return os.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0)) }},
			{"a removed file", func() error { return os.Remove(name) }},
		} {
			t.ok(change.what, change.make())
			t.ok("Flush", o.Flush(t.Context()))
			revision := o.get(writable.Identity).Revision
			if before, known := seen[revision]; known {
				t.Errorf("after %s the revision is %s, as after %s", change.what, revision, before)
			}
			seen[revision] = change.what
		}
		t.ok("Seal", o.Seal(t.Context(), writable.Identity))
		t.ok("Rename", o.Rename(t.Context(), writable.Identity, "snapshots/renamed"))
		last := o.get(writable.Identity)
		o.snapshot(writable.Identity, "snapshots/of-renamed", true)
		o.close()
		o = t.open()
		for _, want := range []sdk.Subvolume{sealed, copied, last} {
			if got := o.get(want.Identity); got.Revision != want.Revision {
				t.Errorf("%s, in which nothing was changed, had the revision %s and has %s", got.Name, want.Revision, got.Revision)
			}
		}
		if seen[last.Revision] != "a removed file" {
			t.Errorf("sealing and renaming gave the revision %s", last.Revision)
		}
	}},

	{"snapshots share their data", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		const size = 16 << 20
		o.write(a, "big", incompressible(size))
		t.ok("Flush", o.Flush(t.Context()))
		before, err := o.Volume(t.Context())
		t.ok("Volume", err)
		o.snapshot(a.Identity, "snapshots/b", true)
		o.snapshot(a.Identity, "snapshots/c", false)
		t.ok("Flush", o.Flush(t.Context()))
		after, err := o.Volume(t.Context())
		t.ok("Volume", err)
		if after.FreeBytes+size/4 < before.FreeBytes {
			t.Errorf("two snapshots of %d bytes took the room from %d to %d", size, before.FreeBytes, after.FreeBytes)
		}
	}},

	{"a repeated snapshot is the one that is there", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		for _, readOnly := range []bool{false, true} {
			name := map[bool]string{false: "snapshots/writable", true: "snapshots/sealed"}[readOnly]
			first := o.snapshot(a.Identity, name, readOnly)
			if !readOnly {
				o.write(first, "file", "written since")
			}
			before := o.list()
			if again := o.snapshot(a.Identity, name, readOnly); again.Identity != first.Identity {
				t.Errorf("%s: first %s, then %s", name, first.Identity, again.Identity)
			}
			t.same("List", before, o.list())
			if !readOnly {
				o.holds(o.get(first.Identity), "file", "written since")
			}
			_, err := o.Snapshot(t.Context(), a.Identity, name, !readOnly)
			t.refused(name+" with the other writability", err, sdk.ErrExists)
			_, err = o.Snapshot(t.Context(), first.Identity, name, readOnly)
			t.refused(name+" of itself", err, sdk.ErrExists)
		}
		b := o.create("snapshots/b")
		_, err := o.Snapshot(t.Context(), b.Identity, "snapshots/sealed", true)
		t.refused("the name of a snapshot of another", err, sdk.ErrExists)
		_, err = o.Snapshot(t.Context(), a.Identity, "snapshots/b", false)
		t.refused("the name of what is no snapshot", err, sdk.ErrExists)
	}},

	{"snapshots do not hold nested subvolumes", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		nested := o.create("snapshots/a/nested")
		b := o.snapshot(a.Identity, "snapshots/b", true)
		if _, err := os.Stat(filepath.Join(b.Path, "nested", "name")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the snapshot has the nested subvolume's file: %v", err)
		}
		o.holds(nested, "name", "snapshots/a/nested")
	}},

	{"forgets the origin of a snapshot when that is gone", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		b := o.snapshot(a.Identity, "snapshots/b", false)
		if err := o.Delete(t.Context(), a.Identity); errors.Is(err, sdk.ErrBusy) {
			t.Logf("a subvolume with snapshots cannot be deleted here: %v", err)
			return
		}
		if got := o.get(b.Identity); got.Origin != "" {
			t.Errorf("its origin is %q", got.Origin)
		}
		o.holds(o.get(b.Identity), "name", "snapshots/a")
	}},

	{"seals what was written, for ever", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		o.write(a, "file", "written last")
		for range 2 {
			t.ok("Seal", o.Seal(t.Context(), a.Identity))
			if s := o.get(a.Identity); !s.ReadOnly || s.Name != "snapshots/a" {
				t.Errorf("after Seal: %+v", s)
			}
			o.writeRefused(o.get(a.Identity))
		}
		o.close()
		o = t.open()
		o.writeRefused(o.get(a.Identity))
		o.holds(o.get(a.Identity), "file", "written last")
	}},

	{"takes a whole rotation, also when every verb comes twice", func(t *fsTest) {
		o := t.openPrepared()
		root := o.create("snapshots/root")
		twice := func(what string, verb func() error) {
			t.Helper()
			t.ok(what, verb())
			t.ok(what+", repeated", verb())
		}
		snapshot := func(from sdk.Identity, to string, readOnly bool) sdk.Subvolume {
			t.Helper()
			first := o.snapshot(from, to, readOnly)
			if again := o.snapshot(from, to, readOnly); again.Identity != first.Identity {
				t.Errorf("Snapshot as %s: first %s, then %s", to, first.Identity, again.Identity)
			}
			return first
		}
		ctx := t.Context()
		current := snapshot(root.Identity, "snapshots/current", true)
		built := snapshot(current.Identity, "snapshots/new", false)
		o.write(built, "version", "2")
		twice("Seal", func() error { return o.Seal(ctx, built.Identity) })
		twice("Rename", func() error { return o.Rename(ctx, built.Identity, "snapshots/2") })
		fresh := snapshot(built.Identity, "snapshots/2.root", false)
		twice("Exchange", func() error { return o.Exchange(ctx, "snapshots/root", fresh.Identity) })
		twice("SetDefault", func() error { return o.SetDefault(ctx, fresh.Identity) })
		twice("Delete", func() error { return o.Delete(ctx, root.Identity) })
		o.holds(o.lookup("snapshots/root"), "version", "2")
		o.holds(o.lookup("snapshots/current"), "version", "")
		if s := o.lookup("snapshots/root"); s.Identity != fresh.Identity || s.ReadOnly {
			t.Errorf("root is %+v", s)
		}
	}},
}

// writeRefused checks that nothing can be written into a subvolume.
func (o *opened) writeRefused(s sdk.Subvolume) {
	o.test.Helper()
	for _, name := range []string{"new", "name"} {
		err := os.WriteFile(filepath.Join(s.Path, name), []byte("x"), 0o644)
		if !errors.Is(err, unix.EROFS) {
			o.test.Errorf("writing %s into %s: %v; want %v", name, s.Name, err, unix.EROFS)
		}
	}
}

// incompressible makes content that no filesystem can store in less.
func incompressible(size int) string {
	content := make([]byte, size)
	source := rand.NewChaCha8([32]byte{})
	if _, err := source.Read(content); err != nil {
		panic(err) // documented never to happen
	}
	return string(content)
}
