package conformance

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
)

func bootInstall(t *testing.T, b *bootBench) {
	before := b.state()
	entry := b.entry("a1", "6.1.0-9")
	installed := b.install(entry)
	want := []sdk.KernelFile{
		{Role: sdk.RoleKernel, Source: "boot/vmlinuz-6.1.0-9"},
		{Role: sdk.RoleInitrd, Source: "boot/initrd.img-6.1.0-9"},
	}
	if len(installed.Files) < len(want) {
		t.Fatalf("installed %+v", installed.Files)
	}
	for i, file := range installed.Files[:len(want)] { // others are what the loader made of them
		source, target := readFile(t, entry.Root, file.Source), readFile(t, b.target.Directory, file.Target)
		if file.Role != want[i].Role || file.Source != want[i].Source || target != source || file.SHA256 != digestText(source) || file.Size != uint64(len(source)) {
			t.Errorf("installed %+v of %d bytes, as %d bytes", file, len(source), len(target))
		}
	}
	after := b.state()
	if len(after.Entries) != 1 {
		t.Fatalf("entries %+v", after.Entries)
	}
	got := after.Entries[0]
	if diff := cmp.Diff(installed, got.Kernel); diff != "" {
		t.Errorf("the state has another kernel set than Install:\n%s", diff)
	}
	if got.ID != "a1" || got.Title != entry.Title || got.Problem != "" || got.CommandLine != `root=UUID=a1 rootflags=subvolid=260 odd=$x;{y} ro` {
		t.Errorf("entry %+v", got)
	}
	after.Entries = before.Entries
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("Install changed what boots:\n%s", diff)
	}
	b.reopen()
	if diff := cmp.Diff(got, b.state().Entries[0]); diff != "" {
		t.Errorf("another plugin sees another entry:\n%s", diff)
	}
}

func bootInstallAgain(t *testing.T, b *bootBench) {
	entry := b.entry("a1", "6.1.0-9")
	first, before := b.install(entry), b.listing()
	b.reopen()
	if diff := cmp.Diff(first, b.install(entry)); diff != "" {
		t.Errorf("the second Install answers otherwise:\n%s", diff)
	}
	b.wantSame("the second Install", before)
	b.setDefault("a1")
	before = b.listing()
	b.install(entry)
	b.wantSame("Install of the default as it is", before)
}

func bootInstallOther(t *testing.T, b *bootBench) {
	entry := b.entry("a1", "6.1.0-9")
	b.install(entry)
	b.install(b.entry("b2", "6.1.0-10"))
	others := b.files("b2")
	entry.Arguments = []string{"root=UUID=other"}
	b.install(entry)
	if got := b.inState("a1").CommandLine; got != "root=UUID=other" {
		t.Errorf("command line %q", got)
	}
	changed := b.entry("a1", "6.5")
	if got := b.install(changed).Version; got != "6.5" {
		t.Errorf("version %q", got)
	}
	b.wantSame("Install of another entry", others)
	b.verify("a1", "b2")
}

func bootInstallHalf(t *testing.T, b *bootBench) {
	entry := b.entry("a1", "6.1.0-9")
	installed := b.install(entry)
	for _, file := range installed.Files {
		for name, damage := range damages() {
			damage(t, b.path(file.Target))
			b.reopen()
			if err := b.plugin.Verify(t.Context(), "a1"); err == nil {
				t.Errorf("Verify did not see %s: %s", file.Target, name)
			}
			b.install(entry)
			b.verify("a1")
			if problem := b.inState("a1").Problem; problem != "" {
				t.Errorf("after %s of %s and another Install: %s", name, file.Target, problem)
			}
		}
	}
}

func bootInstallBusy(t *testing.T, b *bootBench) {
	a, c := b.entry("a1", "6.1.0-9"), b.entry("c3", "6.1.0-11")
	b.install(a)
	b.install(c)
	b.setDefault("a1")
	b.arm("c3")
	before := b.listing()
	for _, entry := range []sdk.Entry{a, c} {
		entry.Arguments = []string{"root=UUID=other"}
		_, err := b.plugin.Install(t.Context(), entry)
		wantBootError(t, "Install over "+entry.ID, err, sdk.ErrBusy)
	}
	b.wantSame("refused Installs", before)
}

// bootMend damages what boots, by default or for a trial: that much an Install may
// touch, since it only gets back what it was.
func bootMend(t *testing.T, b *bootBench) {
	a, c := b.entry("a1", "6.1.0-9"), b.entry("c3", "6.1.0-11")
	installed := append(b.install(a).Files, b.install(c).Files...)
	b.setDefault("a1")
	b.arm("c3")
	for i, file := range installed {
		whole := b.listing()
		for name, damage := range damages() {
			others := maps.Clone(whole)
			delete(others, file.Target)
			damage(t, b.path(file.Target))
			b.reopen()
			b.install([]sdk.Entry{a, c}[i*2/len(installed)])
			b.verify("a1", "c3")
			b.wantChoice("a1", "c3")
			b.wantSameFiles("mending after "+name+" of "+file.Target, others)
		}
	}
}

func bootRoom(t *testing.T, b *bootBench) {
	room := b.room()
	if room.Total == 0 || room.Free == 0 || room.Free > room.Total {
		t.Fatalf("room %+v", room)
	}
	root := b.bigTree("6.1", 8<<20)
	inspected, err := b.plugin.Inspect(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	installed := b.install(sdk.Entry{ID: "a1", Title: "A", Root: root, Arguments: []string{"ro"}})
	if used := room.Free - b.room().Free; used > inspected.Bytes || used < 8<<20 {
		t.Errorf("Inspect said %d bytes, Install %d, and %d were taken", inspected.Bytes, installed.Bytes, used)
	}
	if err := b.plugin.Remove(t.Context(), "a1"); err != nil {
		t.Fatal(err)
	}
	// What the loader itself needs may stay.
	if lost := int64(room.Free) - int64(b.room().Free); lost > 1<<20 {
		t.Errorf("after Remove %d bytes are still taken", lost)
	}
}

func bootNoSpace(t *testing.T, b *bootBench) {
	b.install(b.entry("a1", "6.1.0-9"))
	b.setDefault("a1")
	before, state := b.listing(), b.state()
	root := b.bigTree("6.2", int64(b.room().Free))
	_, err := b.plugin.Install(t.Context(), sdk.Entry{ID: "b2", Title: "B", Root: root, Arguments: []string{"ro"}})
	wantBootError(t, "Install of a kernel as big as the free room", err, sdk.ErrNoSpace)
	if err != nil && !strings.ContainsFunc(err.Error(), func(r rune) bool { return r >= '0' && r <= '9' }) {
		t.Errorf("the message has no numbers: %v", err)
	}
	b.wantSame("the refused Install", before)
	if diff := cmp.Diff(state, b.state()); diff != "" {
		t.Error(diff)
	}
}

func bootCancelled(t *testing.T, b *bootBench) {
	b.install(b.entry("a1", "6.1.0-9"))
	b.setDefault("a1")
	others := b.files("a1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	entry := b.entry("b2", "6.2")
	_, err := b.plugin.Install(ctx, entry)
	wantBootError(t, "Install with a cancelled context", err, sdk.ErrCancelled)
	b.wantSame("a cancelled Install", others)
	if got := b.state(); got.Default != "a1" || got.Trial != "" {
		t.Errorf("state %+v", got)
	}
	b.install(entry)
	b.verify("a1", "b2")
}
