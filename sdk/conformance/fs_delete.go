package conformance

import (
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk"
)

var fsDeleteCases = []fsCase{
	{"deletes, and never gives an identity again", func(t *fsTest) {
		o := t.openPrepared()
		before := o.list()
		seen := map[sdk.Identity]bool{}
		for range 3 {
			a := o.create("snapshots/a")
			if seen[a.Identity] {
				t.Errorf("the identity %s was given twice", a.Identity)
			}
			seen[a.Identity] = true
			sealed := o.snapshot(a.Identity, "snapshots/b", true)
			for range 2 {
				t.ok("Delete", o.Delete(t.Context(), sealed.Identity))
				t.ok("Delete", o.Delete(t.Context(), a.Identity))
			}
			_, err := o.Get(t.Context(), a.Identity)
			t.refused("Get", err, sdk.ErrNotFound)
			t.same("List", before, o.list())
		}
	}},

	{"does not delete the default", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		b := o.create("snapshots/b")
		t.ok("SetDefault", o.SetDefault(t.Context(), a.Identity))
		t.refused("Delete", o.Delete(t.Context(), a.Identity), sdk.ErrBusy)
		o.holds(o.get(a.Identity), "name", "snapshots/a")
		t.ok("SetDefault", o.SetDefault(t.Context(), b.Identity))
		t.ok("Delete", o.Delete(t.Context(), a.Identity))
	}},

	{"does not delete what holds nested subvolumes, and names them", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		nested := o.create("snapshots/a/data")
		err := o.Delete(t.Context(), a.Identity)
		t.refused("Delete", err, sdk.ErrBusy)
		if err != nil && !strings.Contains(err.Error(), "snapshots/a/data") {
			t.Errorf("the error does not name what is nested: %v", err)
		}
		o.holds(o.get(nested.Identity), "name", "snapshots/a/data")
		t.ok("Delete", o.Delete(t.Context(), nested.Identity))
		t.ok("Delete", o.Delete(t.Context(), a.Identity))
	}},
}
