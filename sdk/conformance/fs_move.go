package conformance

import (
	"io"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/sdk"
)

var fsMoveCases = []fsCase{
	{"renames, also what is mounted and open", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		b := o.create("snapshots/b")
		used := t.use(a.Identity)
		for range 2 {
			t.ok("Rename", o.Rename(t.Context(), a.Identity, "snapshots/c"))
			if s := o.lookup("snapshots/c"); s.Identity != a.Identity || s.Path != o.get(a.Identity).Path {
				t.Errorf("after Rename: %+v", s)
			}
		}
		_, err := o.Lookup(t.Context(), "snapshots/a")
		t.refused("Lookup of the old name", err, sdk.ErrNotFound)
		t.refused("Rename to a name that is taken", o.Rename(t.Context(), a.Identity, "snapshots/b"), sdk.ErrExists)
		o.holds(o.get(a.Identity), "name", "snapshots/a")
		o.holds(o.get(b.Identity), "name", "snapshots/b")
		used.stillWorks(o, a.Identity)
	}},

	{"renames what is sealed", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		t.ok("Seal", o.Seal(t.Context(), a.Identity))
		t.ok("Rename", o.Rename(t.Context(), a.Identity, "snapshots/b"))
		if s := o.lookup("snapshots/b"); s.Identity != a.Identity || !s.ReadOnly {
			t.Errorf("after Rename: %+v", s)
		}
	}},

	{"exchanges, also what is mounted and open", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		b := o.create("snapshots/b")
		used := []*usedSubvolume{t.use(a.Identity), t.use(b.Identity)}
		for range 2 {
			t.ok("Exchange", o.Exchange(t.Context(), "snapshots/a", b.Identity))
			if s := o.lookup("snapshots/a"); s.Identity != b.Identity {
				t.Errorf("snapshots/a is %+v", s)
			}
			if s := o.lookup("snapshots/b"); s.Identity != a.Identity {
				t.Errorf("snapshots/b is %+v", s)
			}
		}
		used[0].stillWorks(o, a.Identity)
		used[1].stillWorks(o, b.Identity)
		t.refused("Exchange of a name that nobody has", o.Exchange(t.Context(), "snapshots/none", a.Identity), sdk.ErrNotFound)
		t.ok("Exchange back", o.Exchange(t.Context(), "snapshots/a", a.Identity))
		if s := o.lookup("snapshots/a"); s.Identity != a.Identity {
			t.Errorf("snapshots/a is %+v", s)
		}
	}},

	{"exchanges without an instant at which nobody has the name", func(t *fsTest) {
		o := t.openPrepared()
		top, ok := o.top()
		if !ok || !o.has(sdk.CapabilityExchange) {
			t.Log("there is no exchange in one step, or no path to watch")
			return
		}
		a := o.create("snapshots/a")
		b := o.create("snapshots/b")
		path := filepath.Join(top.Path, "snapshots/a/name")
		stop, missed := make(chan struct{}), make(chan error, 1)
		go func() {
			for {
				select {
				case <-stop:
					close(missed)
					return
				default:
				}
				if _, err := os.Stat(path); err != nil {
					missed <- err
					return
				}
			}
		}()
		for i := range 30 {
			id := []sdk.Identity{b.Identity, a.Identity}[i%2]
			t.ok("Exchange", o.Exchange(t.Context(), "snapshots/a", id))
		}
		close(stop)
		if err := <-missed; err != nil {
			t.Errorf("the name was gone: %v", err)
		}
	}},
}

// usedSubvolume is one that somebody works in.
type usedSubvolume struct {
	test      *fsTest
	directory string
	file      *os.File
}

// use mounts a subvolume and opens a file in it.
func (t *fsTest) use(id sdk.Identity) *usedSubvolume {
	t.Helper()
	directory := t.volume.Mount(t, id)
	file, err := os.Create(filepath.Join(directory, "open"))
	t.ok("create", err)
	t.Cleanup(func() { file.Close() })
	return &usedSubvolume{test: t, directory: directory, file: file}
}

// stillWorks checks that the mount and the open file are still this subvolume's.
func (u *usedSubvolume) stillWorks(o *opened, id sdk.Identity) {
	u.test.Helper()
	_, err := io.WriteString(u.file, "through the open file")
	u.test.ok("write", err)
	u.test.ok("write", os.WriteFile(filepath.Join(u.directory, "mounted"), []byte("through the mount"), 0o644))
	o.holds(o.get(id), "open", "through the open file")
	o.holds(o.get(id), "mounted", "through the mount")
	u.test.ok("close", u.file.Close())
}
