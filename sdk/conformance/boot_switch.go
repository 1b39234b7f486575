package conformance

import (
	"slices"
	"strings"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk"
)

func bootArm(t *testing.T, b *bootBench) {
	if err := b.plugin.Disarm(t.Context()); err != nil {
		t.Fatalf("Disarm with nothing armed: %v", err)
	}
	b.install(b.entry("a1", "6.1.0-9"))
	b.install(b.entry("b2", "6.1.0-10"))
	b.install(b.entry("c3", "6.1.0-11"))
	b.setDefault("a1")
	files := b.files("a1", "b2", "c3")
	b.arm("b2")
	b.arm("b2")
	b.reopen()
	b.wantChoice("a1", "b2")
	b.arm("c3")
	b.wantChoice("a1", "c3")
	wantBootError(t, "no tries", b.plugin.Arm(t.Context(), "b2", 0), sdk.ErrInvalid)
	b.armTwice("b2")
	for range 2 {
		if err := b.plugin.Disarm(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.wantChoice("a1", "")
	}
	b.wantSame("Arm and Disarm", files)
}

// bootCounted arms as many tries as there are, and counts them down where there is
// a loader to run.
func bootCounted(t *testing.T, b *bootBench) {
	b.install(b.entry("a1", "6.1.0-9"))
	b.install(b.entry("b2", "6.1.0-10"))
	b.setDefault("a1")
	for _, tries := range b.countsOfTries() {
		if err := b.plugin.Arm(t.Context(), "b2", tries); err != nil {
			t.Fatalf("Arm with %d tries: %v", tries, err)
		}
		b.wantTries("a1", "b2", tries)
		for left := tries - 1; left >= 0 && b.target.Start != nil; left-- {
			b.wantStart("b2", true)
			if left == 0 {
				b.wantTries("a1", "", 0)
			} else {
				b.wantTries("a1", "b2", left)
			}
		}
		if b.target.Start != nil {
			b.wantStartAfterTrial("a1")
		}
		if err := b.plugin.Arm(t.Context(), "b2", tries); err != nil {
			t.Fatalf("Arm with %d tries: %v", tries, err)
		}
		if err := b.plugin.Disarm(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.wantStartAfterTrial("a1")
	}
	most := b.countsOfTries()
	if err := b.plugin.Arm(t.Context(), "b2", most[len(most)-1]); err != nil {
		t.Fatal(err)
	}
	b.setDefault("b2")
	b.wantTries("b2", "", 0)
	b.wantStartAfterTrial("b2")
}

func bootDefault(t *testing.T, b *bootBench) {
	b.install(b.entry("a1", "6.1.0-9"))
	b.install(b.entry("b2", "6.1.0-10"))
	b.install(b.entry("c3", "6.1.0-11"))
	files := b.files("a1", "b2", "c3")
	b.wantChoice("", "")
	for range 2 {
		b.setDefault("a1")
		b.reopen()
		b.wantChoice("a1", "")
	}
	b.arm("b2")
	b.setDefault("c3")
	b.wantChoice("c3", "b2")
	b.setDefault("b2")
	b.wantChoice("b2", "")
	b.wantSame("SetDefault", files)
}

func bootRemove(t *testing.T, b *bootBench) {
	if err := b.plugin.Remove(t.Context(), "gone"); err != nil {
		t.Errorf("Remove of what never was: %v", err)
	}
	b.install(b.entry("a1", "6.1.0-9"))
	b.install(b.entry("b2", "6.1.0-10"))
	b.install(b.entry("c3", "6.1.0-11"))
	b.setDefault("a1")
	b.arm("b2")
	before := b.listing()
	wantBootError(t, "Remove of the default", b.plugin.Remove(t.Context(), "a1"), sdk.ErrBusy)
	wantBootError(t, "Remove of the trial", b.plugin.Remove(t.Context(), "b2"), sdk.ErrBusy)
	b.wantSame("refused Removes", before)
	others, gone := b.files("a1", "b2"), b.files("c3")
	for range 2 {
		if err := b.plugin.Remove(t.Context(), "c3"); err != nil {
			t.Fatal(err)
		}
	}
	b.wantSame("Remove of another entry", others)
	now := b.listing()
	for path := range gone {
		if _, ok := now[path]; ok {
			t.Errorf("Remove left %s", path)
		}
	}
	b.wantChoice("a1", "b2")
	if ids := b.ids(); !slices.Equal(ids, []string{"a1", "b2"}) {
		t.Errorf("entries %v", ids)
	}
	wantBootError(t, "Verify of what is removed", b.plugin.Verify(t.Context(), "c3"), sdk.ErrNotFound)
}

func bootVerify(t *testing.T, b *bootBench) {
	installed := b.install(b.entry("a1", "6.1.0-9"))
	b.verify("a1")
	for _, file := range installed.Files {
		flipBit(t, b.path(file.Target))
		err := b.plugin.Verify(t.Context(), "a1")
		wantBootError(t, "Verify with a flipped bit in "+file.Target, err, sdk.ErrCorrupt)
		if err != nil && !strings.Contains(err.Error(), file.Target) {
			t.Errorf("the message does not name %s: %v", file.Target, err)
		}
		flipBit(t, b.path(file.Target))
		b.verify("a1")
	}
}

func bootDamaged(t *testing.T, b *bootBench) {
	b.install(b.entry("a1", "6.1.0-9"))
	installed := b.install(b.entry("b2", "6.1.0-10"))
	b.setDefault("a1")
	for _, file := range installed.Files {
		flipBit(t, b.path(file.Target))
		before := b.listing()
		wantBootError(t, "Arm", b.plugin.Arm(t.Context(), "b2", 1), sdk.ErrCorrupt)
		wantBootError(t, "SetDefault", b.plugin.SetDefault(t.Context(), "b2"), sdk.ErrCorrupt)
		b.wantSame("refused calls", before)
		b.wantChoice("a1", "")
		flipBit(t, b.path(file.Target))
	}
	removeFile(t, b.path(installed.Files[0].Target))
	if b.inState("b2").Problem == "" {
		t.Error("the state has nothing against an entry without its kernel")
	}
	if b.inState("a1").Problem != "" {
		t.Error("one entry's damage is said of another")
	}
}

// bootLife is what a device goes through in four updates, of which one fails and
// one is rolled back, with a new plugin for every step.
func bootLife(t *testing.T, b *bootBench) {
	b.install(b.entry("g0", "6.1.0"))
	b.setDefault("g0")
	current := "g0"
	for i, id := range []string{"g1", "g2", "g3", "g4"} {
		old := b.files(current)
		b.reopen()
		b.install(b.entry(id, "6.1."+id[1:]))
		b.reopen()
		b.arm(id)
		b.wantChoice(current, id)
		b.reopen()
		if i == 1 { // it fails: the loader came back, and the entry goes
			if err := b.plugin.Disarm(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := b.plugin.Remove(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			b.wantChoice(current, "")
			b.wantSame("a failed update", old)
			continue
		}
		b.setDefault(id)
		b.wantChoice(id, "")
		b.wantSame("a good update", old)
		if err := b.plugin.Remove(t.Context(), current); err != nil {
			t.Fatal(err)
		}
		current = id
		b.verify(current)
	}
	if ids := b.ids(); !slices.Equal(ids, []string{"g4"}) {
		t.Errorf("entries %v", ids)
	}
}
