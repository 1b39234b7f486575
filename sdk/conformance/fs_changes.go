package conformance

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// changesSeeds are those of the random edits. Each gives another history.
var changesSeeds = []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

var fsChangesCases = []fsCase{
	{"finds every change of random histories", func(t *fsTest) {
		o := t.openPrepared()
		if !o.has(sdk.CapabilityChanges) {
			_, err := o.changes("1", "2")
			t.refused("Changes without the capability", err, sdk.ErrUnsupported)
			return
		}
		for _, seed := range changesSeeds {
			o.checkRandomHistory(seed)
		}
	}},

	{"finds every name of a file that has several", func(t *fsTest) {
		o := t.openPrepared()
		if !o.has(sdk.CapabilityChanges) {
			t.Log("there is no comparison without reading both trees")
			return
		}
		root := o.create("snapshots/root")
		t.ok("mkdir", os.MkdirAll(filepath.Join(root.Path, "some/where"), 0o755))
		const links = 400 // more than fit into one item of btrfs
		for i := range links {
			name := filepath.Join(root.Path, "some/where", strings.Repeat("n", 1+i/2)+string(rune('a'+i%2)))
			if i >= 200 {
				name = filepath.Join(root.Path, strings.Repeat("m", 1+(i-200)/2)+string(rune('a'+i%2)))
			}
			t.ok("link", os.Link(filepath.Join(root.Path, "name"), name))
		}
		a := o.snapshot(root.Identity, "snapshots/a", true)
		o.write(root, "name", "changed through one name")
		b := o.snapshot(root.Identity, "snapshots/b", true)
		o.checkChanges(a, b)
	}},

	{"compares only what is sealed and has a common history", func(t *fsTest) {
		o := t.openPrepared()
		if !o.has(sdk.CapabilityChanges) {
			t.Log("there is no comparison without reading both trees")
			return
		}
		root := o.create("snapshots/root")
		a := o.snapshot(root.Identity, "snapshots/a", true)
		if got, err := o.changes(a.Identity, a.Identity); err != nil || len(got) > 0 {
			t.Errorf("Changes from a tree to itself: %v, %v", got, err)
		}
		foreign := o.create("snapshots/foreign")
		t.ok("Seal", o.Seal(t.Context(), foreign.Identity))
		_, err := o.changes(a.Identity, foreign.Identity)
		t.refused("Changes to a stranger", err, sdk.ErrUnsupported)
		_, err = o.changes(a.Identity, "none")
		t.refused("Changes to nothing", err, sdk.ErrNotFound)

		o.write(root, "one", "1")
		o.write(root, "two", "2")
		b := o.snapshot(root.Identity, "snapshots/b", true)
		calls, stop := 0, errors.New("stop")
		err = o.Changes(t.Context(), a.Identity, b.Identity, func(sdk.Change) error { calls++; return stop })
		if err == nil || !strings.Contains(err.Error(), stop.Error()) || calls != 1 {
			t.Errorf("Changes called emit %d times after its error, and gave %v", calls, err)
		}
		if err := o.Changes(cancelled(), a.Identity, b.Identity, func(sdk.Change) error { return nil }); !isCancelled(err) {
			t.Errorf("Changes with a context that is over: %v", err)
		}
		o.checkChanges(a, b)
	}},
}

// changes collects what Changes emits.
func (o *opened) changes(a, b sdk.Identity) (map[string]sdk.ChangeKind, error) {
	o.test.Helper()
	got := map[string]sdk.ChangeKind{}
	err := o.Changes(o.test.Context(), a, b, func(c sdk.Change) error {
		if c.Path == "" || path.IsAbs(c.Path) || path.Clean(c.Path) != c.Path {
			o.test.Errorf("the path %q is not relative and clean", c.Path)
		}
		if before, ok := got[c.Path]; ok && before != c.Kind {
			o.test.Errorf("%q is %s and %s", c.Path, before, c.Kind)
		}
		got[c.Path] = c.Kind
		return nil
	})
	return got, err
}

// checkRandomHistory edits a tree at random between two snapshots and compares.
func (o *opened) checkRandomHistory(seed uint64) {
	o.test.Helper()
	name := "history-" + string(rune('a'+seed))
	root := o.create(name)
	editor := newEditor(o.test, root.Path, seed)
	for range 120 {
		editor.edit()
	}
	a := o.snapshot(root.Identity, "snapshots/"+name+".a", true)
	for range 1 + int(seed)*12 {
		editor.edit()
	}
	b := o.snapshot(root.Identity, "snapshots/"+name+".b", true)
	o.checkChanges(a, b)
	o.checkChanges(b, a)
	if o.test.Failed() {
		o.test.Fatalf("with the seed %d, after these edits:\n%s", seed, strings.Join(editor.log, "\n"))
	}
}

// checkChanges compares what Changes finds with a comparison that reads both
// trees.
func (o *opened) checkChanges(a, b sdk.Subvolume) {
	o.test.Helper()
	got, err := o.changes(a.Identity, b.Identity)
	o.test.ok("Changes", err)
	old, err := readTree(a.Path)
	o.test.ok("read tree", err)
	new, err := readTree(b.Path)
	o.test.ok("read tree", err)
	for name := range got {
		inOld, inNew := old[name] != nil, new[name] != nil
		if (got[name] == sdk.ChangeAdded) != (!inOld && inNew) || (got[name] == sdk.ChangeRemoved) != (inOld && !inNew) {
			o.test.Errorf("%s to %s: %q is said to be %s; it is in the old tree: %t, in the new one: %t",
				a.Name, b.Name, name, got[name], inOld, inNew)
		}
	}
	for name, before := range old {
		if _, found := got[name]; found {
			continue
		}
		if diff := cmp.Diff(before, new[name]); diff != "" {
			o.test.Errorf("%s to %s: Changes missed %q:\n%s", a.Name, b.Name, name, diff)
		}
	}
	for name := range new {
		if _, found := got[name]; !found && old[name] == nil {
			o.test.Errorf("%s to %s: Changes missed that %q is new", a.Name, b.Name, name)
		}
	}
}
