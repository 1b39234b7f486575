package conformance

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// BootTarget is one boot filesystem with a loader on it, and the way to plugins
// that work on it.
type BootTarget struct {
	// New gives a plugin that was not configured yet. The suite closes it. A later
	// one stands for the plugin of the next command, or after a restart.
	New func(t testing.TB) sdk.Boot
	// Settings are those with which it works on this target.
	Settings map[string]string
	// Directory is where the boot filesystem is mounted for the suite, to look at
	// it and to damage it. It holds 48 MiB or more, of which 32 MiB or more are free.
	Directory string
}

// Boot runs the suite of the boot loader contract. make gives a fresh target for
// each test.
func Boot(t *testing.T, make func(t *testing.T) BootTarget) {
	tests := []struct {
		name string
		run  func(*testing.T, *bootBench)
	}{
		{"describes itself before it is configured", bootDescribe},
		{"inspects without touching anything", bootInspect},
		{"refuses roots and ids that cannot be", bootInvalid},
		{"installs what is neither default nor trial", bootInstall},
		{"installs again without a change", bootInstallAgain},
		{"installs with other arguments", bootInstallOther},
		{"repairs what is half installed", bootInstallHalf},
		{"does not touch a default that is not what is asked", bootInstallBusy},
		{"takes no more room than it said", bootRoom},
		{"refuses for want of room before it writes", bootNoSpace},
		{"stops when cancelled", bootCancelled},
		{"arms and disarms a trial", bootArm},
		{"makes an entry the default", bootDefault},
		{"removes", bootRemove},
		{"finds a flipped bit in every file", bootVerify},
		{"refuses to boot what is damaged", bootDamaged},
		{"goes through a life of updates", bootLife},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, newBootBench(t, make(t)))
		})
	}
}

func bootDescribe(t *testing.T, b *bootBench) {
	plugin := b.target.New(t)
	defer closeBoot(t, plugin)
	got, err := plugin.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Kind != sdk.KindBoot || got.Name == "" || got.Summary == "" {
		t.Errorf("description %+v", got)
	}
	if problems := sdk.CheckSettings(got.Keys, b.target.Settings); len(problems) > 0 {
		t.Errorf("the settings of the target: %v", problems)
	}
	for name, call := range bootCalls(plugin) {
		wantBootError(t, name+" before Configure", call(t.Context()), sdk.ErrInvalid)
	}
}

// bootCalls are all methods that need a configured plugin, with harmless
// parameters.
func bootCalls(plugin sdk.Boot) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Check":   func(ctx context.Context) error { _, err := plugin.Check(ctx); return err },
		"Inspect": func(ctx context.Context) error { _, err := plugin.Inspect(ctx, "/"); return err },
		"Room":    func(ctx context.Context) error { _, err := plugin.Room(ctx); return err },
		"Install": func(ctx context.Context) error {
			_, err := plugin.Install(ctx, sdk.Entry{ID: "x", Root: "/"})
			return err
		},
		"Remove":     func(ctx context.Context) error { return plugin.Remove(ctx, "x") },
		"Arm":        func(ctx context.Context) error { return plugin.Arm(ctx, "x", 1) },
		"Disarm":     func(ctx context.Context) error { return plugin.Disarm(ctx) },
		"SetDefault": func(ctx context.Context) error { return plugin.SetDefault(ctx, "x") },
		"State":      func(ctx context.Context) error { _, err := plugin.State(ctx); return err },
		"Verify":     func(ctx context.Context) error { return plugin.Verify(ctx, "x") },
	}
}

func bootInspect(t *testing.T, b *bootBench) {
	root := b.tree("6.1.0-9", 100_000)
	before, tree := b.listing(), listTree(t, root)
	got, err := b.plugin.Inspect(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	want := []sdk.KernelFile{
		{Role: sdk.RoleKernel, Source: "boot/vmlinuz-6.1.0-9", Size: 100_000},
		{Role: sdk.RoleInitrd, Source: "boot/initrd.img-6.1.0-9", Size: 200_000},
	}
	if diff := cmp.Diff(want, got.Files); diff != "" || got.Version != "6.1.0-9" {
		t.Errorf("version %q\n%s", got.Version, diff)
	}
	if got.Bytes < 300_000 {
		t.Errorf("installing 300000 bytes takes %d bytes", got.Bytes)
	}
	b.wantSame("Inspect", before)
	if diff := cmp.Diff(tree, listTree(t, root)); diff != "" {
		t.Errorf("Inspect changed the root tree:\n%s", diff)
	}
	_, err = b.plugin.Inspect(t.Context(), t.TempDir())
	wantBootError(t, "Inspect of an empty tree", err, sdk.ErrNoKernel)
}

func bootInvalid(t *testing.T, b *bootBench) {
	before := b.listing()
	_, err := b.plugin.Install(t.Context(), sdk.Entry{ID: "a", Title: "A", Root: t.TempDir(), Arguments: []string{"ro"}})
	wantBootError(t, "Install of an empty tree", err, sdk.ErrNoKernel)
	root := b.tree("6.1", 1000)
	for _, id := range []string{"", "..", "a/b", "A", "a b", "a.b", "ä", strings.Repeat("a", 300)} {
		_, err := b.plugin.Install(t.Context(), sdk.Entry{ID: id, Title: "A", Root: root, Arguments: []string{"ro"}})
		wantBootError(t, "Install as "+id, err, sdk.ErrInvalid)
		wantBootError(t, "Remove "+id, b.plugin.Remove(t.Context(), id), sdk.ErrInvalid)
	}
	_, err = b.plugin.Install(t.Context(), sdk.Entry{ID: "a", Title: "A\nB", Root: root, Arguments: []string{"ro"}})
	wantBootError(t, "Install with a line feed in the title", err, sdk.ErrInvalid)
	_, err = b.plugin.Install(t.Context(), sdk.Entry{ID: "a", Title: "A", Root: root, Arguments: []string{"ro\nx"}})
	wantBootError(t, "Install with a line feed in an argument", err, sdk.ErrInvalid)
	wantBootError(t, "Arm", b.plugin.Arm(t.Context(), "gone", 1), sdk.ErrNotFound)
	wantBootError(t, "SetDefault", b.plugin.SetDefault(t.Context(), "gone"), sdk.ErrNotFound)
	wantBootError(t, "Verify", b.plugin.Verify(t.Context(), "gone"), sdk.ErrNotFound)
	b.wantSame("refused calls", before)
}

func bootInstall(t *testing.T, b *bootBench) {
	before := b.state()
	entry := b.entry("a1", "6.1.0-9")
	installed := b.install(entry)
	want := []sdk.KernelFile{
		{Role: sdk.RoleKernel, Source: "boot/vmlinuz-6.1.0-9"},
		{Role: sdk.RoleInitrd, Source: "boot/initrd.img-6.1.0-9"},
	}
	if len(installed.Files) != len(want) {
		t.Fatalf("installed %+v", installed.Files)
	}
	for i, file := range installed.Files {
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
