package conformance

import (
	"context"
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
	// Furnish, where it is set, adds to each root tree that the suite makes what the
	// plugin needs there, besides the kernel.
	Furnish func(t testing.TB, root string)
	// Start, where it is set, lets the loader itself start once from the disk as it
	// is, and note what it notes. It gives the id of the entry that it would boot, ""
	// for one that is not ours, and whether with the arguments of a trial. No plugin
	// is open meanwhile. Where there is no loader to run, the suite goes by what the
	// plugin says of it.
	Start func(t testing.TB) (id string, trial bool)
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
		{"counts the tries of a trial", bootCounted},
		{"makes an entry the default", bootDefault},
		{"mends a default that was damaged", bootMend},
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
