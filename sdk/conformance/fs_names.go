package conformance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
)

var fsNameCases = []fsCase{
	{"prepares its places, and keeps them when asked again", func(t *fsTest) {
		o := t.open()
		_, err := o.StateDirectory(t.Context())
		t.refused("StateDirectory before Prepare", err, sdk.ErrNotFound)
		t.ok("Prepare", o.Prepare(t.Context()))
		state, err := o.StateDirectory(t.Context())
		t.ok("StateDirectory", err)
		t.ok("write", os.WriteFile(filepath.Join(state, "journal"), []byte("kept"), 0o600))
		if info, err := os.Stat(state); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others may look into the state directory: %v, %v", info.Mode(), err)
		}
		before := o.list()
		t.ok("Prepare again", o.Prepare(t.Context()))
		t.same("List", before, o.list())
		o.close()

		o = t.open()
		state, err = o.StateDirectory(t.Context())
		t.ok("StateDirectory of the next plugin", err)
		if got, err := os.ReadFile(filepath.Join(state, "journal")); err != nil || string(got) != "kept" {
			t.Errorf("the journal holds %q, %v", got, err)
		}
	}},

	{"keeps its state directory out of every snapshot", func(t *fsTest) {
		o := t.openPrepared()
		state, err := o.StateDirectory(t.Context())
		t.ok("StateDirectory", err)
		t.ok("write", os.WriteFile(filepath.Join(state, "of-the-state"), nil, 0o600))
		o.create("snapshots/a")
		for _, s := range o.list() {
			if o.get(s.Identity).Path == state {
				continue // it may be a subvolume of its own, which nobody snapshots
			}
			copied := o.snapshot(s.Identity, "snapshots/copy-"+strings.ReplaceAll(s.Name, "/", "-"), true)
			t.ok("walk", filepath.WalkDir(copied.Path, func(path string, _ os.DirEntry, err error) error {
				if filepath.Base(path) == "of-the-state" {
					t.Errorf("the snapshot of %q holds %s", s.Name, path)
				}
				return err
			}))
		}
	}},

	{"lists all subvolumes, sorted, as Lookup and Get see them", func(t *fsTest) {
		o := t.openPrepared()
		for _, name := range []string{"snapshots/b", "home", "snapshots/a"} {
			o.create(name)
		}
		list := o.list()
		var names []string
		for _, s := range list {
			names = append(names, s.Name)
			byName, byIdentity := o.lookup(s.Name), o.get(s.Identity)
			for verb, found := range map[string]sdk.Subvolume{"Lookup": byName, "Get": byIdentity} {
				if diff := cmp.Diff(s, lasting(found)); diff != "" {
					t.Errorf("List and %s of %q differ:\n%s", verb, s.Name, diff)
				}
			}
			if byName.Path == "" || byName.Path != byIdentity.Path {
				t.Errorf("Lookup gives %q the path %q, Get %q", s.Name, byName.Path, byIdentity.Path)
			}
		}
		if !slices.IsSorted(names) {
			t.Errorf("not sorted: %q", names)
		}
		for _, want := range []string{"snapshots/b", "home", "snapshots/a"} {
			if !slices.Contains(names, want) {
				t.Errorf("%q does not have %q", names, want)
			}
		}
	}},

	{"knows names that nobody has, and that nobody can have", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		for name, want := range map[string]error{
			"snapshots/none":         sdk.ErrNotFound,
			"none/none":              sdk.ErrNotFound,
			"snapshots/a/none":       sdk.ErrNotFound,
			"":                       sdk.ErrInvalid,
			"/snapshots/a":           sdk.ErrInvalid,
			"..":                     sdk.ErrInvalid,
			"../snapshots/a":         sdk.ErrInvalid,
			"snapshots/../../a":      sdk.ErrInvalid,
			"snapshots/a\x00":        sdk.ErrInvalid,
			"snapshots/" + long(300): sdk.ErrInvalid,
		} {
			_, err := o.Lookup(t.Context(), name)
			t.refused("Lookup of "+name, err, want)
			if want == sdk.ErrInvalid {
				_, err := o.Snapshot(t.Context(), a.Identity, name, true)
				t.refused("Snapshot as "+name, err, want)
				t.refused("Rename to "+name, o.Rename(t.Context(), a.Identity, name), want)
			}
		}
		for _, id := range []sdk.Identity{"", "none", "-1", "18446744073709551615", a.Identity + "0", " " + a.Identity} {
			_, err := o.Get(t.Context(), id)
			t.refused("Get of "+string(id), err, sdk.ErrNotFound)
			_, err = o.Snapshot(t.Context(), id, "snapshots/b", true)
			t.refused("Snapshot of "+string(id), err, sdk.ErrNotFound)
			t.refused("Rename of "+string(id), o.Rename(t.Context(), id, "snapshots/b"), sdk.ErrNotFound)
			t.refused("Exchange with "+string(id), o.Exchange(t.Context(), "snapshots/a", id), sdk.ErrNotFound)
			t.refused("Seal of "+string(id), o.Seal(t.Context(), id), sdk.ErrNotFound)
			t.refused("SetDefault to "+string(id), o.SetDefault(t.Context(), id), sdk.ErrNotFound)
			_, err = o.KernelArguments(t.Context(), id)
			t.refused("KernelArguments of "+string(id), err, sdk.ErrNotFound)
			t.ok("Delete of "+string(id), o.Delete(t.Context(), id))
		}
		t.same("List", o.list(), o.list())
	}},

	{"says of a name that is not a subvolume's what it is", func(t *fsTest) {
		o := t.openPrepared()
		top, ok := o.top()
		if !ok {
			t.Log("names are not paths here: nothing but subvolumes can have one")
			return
		}
		a := o.create("snapshots/a")
		t.ok("mkdir", os.MkdirAll(filepath.Join(top.Path, "snapshots/directory"), 0o755))
		t.ok("symlink", os.Symlink("a", filepath.Join(top.Path, "snapshots/link")))
		t.ok("symlink", os.Symlink("snapshots", filepath.Join(top.Path, "link")))
		o.write(top, "snapshots/file", "content")
		for _, name := range []string{"snapshots", "snapshots/directory", "snapshots/link", "snapshots/file", "link/a"} {
			_, err := o.Lookup(t.Context(), name)
			t.refused("Lookup of "+name, err, sdk.ErrUnsupported)
		}
		for _, name := range []string{"snapshots/directory", "snapshots/link", "snapshots/file"} {
			_, err := o.Snapshot(t.Context(), a.Identity, name, true)
			t.refused("Snapshot as "+name, err, sdk.ErrExists)
			t.refused("Rename to "+name, o.Rename(t.Context(), a.Identity, name), sdk.ErrExists)
		}
		entries, err := os.ReadDir(filepath.Join(top.Path, "snapshots/directory"))
		if err != nil || len(entries) > 0 {
			t.Errorf("something went into the directory: %v, %v", entries, err)
		}
	}},
}

// long gives a name of so many bytes.
func long(size int) string { return strings.Repeat("n", size) }
