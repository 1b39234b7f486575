package conformance

import (
	"github.com/trebuchet-update/tbupdate/sdk"
)

var fsRootCases = []fsCase{
	{"sets the default", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		b := o.snapshot(a.Identity, "snapshots/b", true)
		for _, id := range []sdk.Identity{a.Identity, b.Identity, b.Identity, a.Identity} {
			t.ok("SetDefault", o.SetDefault(t.Context(), id))
			if s, err := o.Default(t.Context()); err != nil || s.Identity != id || s.Path == "" {
				t.Errorf("Default: %+v, %v; want %s", s, err, id)
			}
		}
	}},

	{"pins a root whatever the names and the default are", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		b := o.create("snapshots/b")
		pins := map[sdk.Identity]string{}
		for _, s := range []sdk.Subvolume{a, b} {
			list, err := o.KernelArguments(t.Context(), s.Identity)
			t.ok("KernelArguments", err)
			pins[s.Identity] = arguments(list...)
		}
		check := func() {
			t.Helper()
			for id, pin := range pins {
				for _, line := range []string{pin, "BOOT_IMAGE=/vmlinuz ro " + pin + " quiet panic=10\n", "root=/dev/nothing rootflags=nothing " + pin} {
					if s, err := o.Booted(t.Context(), line); err != nil || s.Identity != id {
						t.Errorf("Booted of %q: %+v, %v; want %s", line, s, err, id)
					}
				}
			}
		}
		check()
		t.ok("Exchange", o.Exchange(t.Context(), "snapshots/a", b.Identity))
		check()
		t.ok("Rename", o.Rename(t.Context(), b.Identity, "snapshots/c"))
		t.ok("SetDefault", o.SetDefault(t.Context(), b.Identity))
		check()
		t.ok("Delete", o.Delete(t.Context(), a.Identity))
		_, err := o.Booted(t.Context(), pins[a.Identity])
		t.refused("Booted of what is gone", err, sdk.ErrNotFound)
	}},

	{"takes a command line that pins nothing for the default", func(t *fsTest) {
		o := t.openPrepared()
		a := o.create("snapshots/a")
		t.ok("SetDefault", o.SetDefault(t.Context(), a.Identity))
		for _, line := range []string{"", "quiet splash", "\n"} {
			if s, err := o.Booted(t.Context(), line); err != nil || s.Identity != a.Identity {
				t.Errorf("Booted of %q: %+v, %v; want %s", line, s, err, a.Identity)
			}
		}
	}},

	{"does not take another volume's root for its own", func(t *fsTest) {
		o := t.openPrepared()
		o.create("snapshots/a")
		elsewhere := &fsTest{T: t.T, fresh: t.fresh, volume: t.fresh(t)}
		other := elsewhere.openPrepared()
		foreign := other.create("snapshots/a")
		list, err := other.KernelArguments(t.Context(), foreign.Identity)
		t.ok("KernelArguments", err)
		_, err = o.Booted(t.Context(), arguments(list...))
		t.refused("Booted", err, sdk.ErrNotFound)
	}},
}
