package conformance

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// bootBench is one test's target with a configured plugin. Its methods end the test
// where the plugin fails.
type bootBench struct {
	t      *testing.T
	target BootTarget
	plugin sdk.Boot
	run    string // directory of the host
	can    sdk.Description
}

func newBootBench(t *testing.T, target BootTarget) *bootBench {
	t.Helper()
	b := &bootBench{t: t, target: target, run: t.TempDir()}
	b.open()
	t.Cleanup(func() { closeBoot(t, b.plugin) })
	return b
}

func (b *bootBench) open() {
	b.t.Helper()
	b.plugin = b.target.New(b.t)
	setup := sdk.Setup{
		Settings:         b.target.Settings,
		CommandLine:      "root=/dev/none",
		RunDirectory:     b.run,
		HostCapabilities: []string{"host.unheard-of"},
	}
	if err := b.plugin.Configure(b.t.Context(), setup); err != nil {
		b.t.Fatalf("Configure: %v", err)
	}
	var err error
	if b.can, err = b.plugin.Describe(b.t.Context()); err != nil { // now of what is there
		b.t.Fatal(err)
	}
}

// reopen goes on with another plugin, as after a restart.
func (b *bootBench) reopen() {
	b.t.Helper()
	closeBoot(b.t, b.plugin)
	b.open()
}

func closeBoot(t testing.TB, plugin sdk.Boot) {
	t.Helper()
	if err := plugin.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func wantBootError(t testing.TB, call string, err error, want *sdk.Error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %q", call, err, want.Code)
	}
}

// path gives where the suite finds a path of the boot filesystem.
func (b *bootBench) path(target string) string { return filepath.Join(b.target.Directory, target) }

func (b *bootBench) install(entry sdk.Entry) sdk.KernelSet {
	b.t.Helper()
	set, err := b.plugin.Install(b.t.Context(), entry)
	if err != nil {
		b.t.Fatalf("Install: %v", err)
	}
	return set
}

func (b *bootBench) arm(id string) {
	b.t.Helper()
	if err := b.plugin.Arm(b.t.Context(), id, 1); err != nil {
		b.t.Fatalf("Arm: %v", err)
	}
}

// armTwice asks for two tries, which is a matter of capability.
func (b *bootBench) armTwice(id string) {
	b.t.Helper()
	before := b.state()
	err := b.plugin.Arm(b.t.Context(), id, 2)
	if !b.can.Has(sdk.CapabilityCounted) {
		wantBootError(b.t, "Arm with two tries", err, sdk.ErrUnsupported)
		if diff := cmp.Diff(before, b.state()); diff != "" {
			b.t.Errorf("a refused Arm changed the state:\n%s", diff)
		}
		return
	}
	if err != nil {
		b.t.Fatalf("Arm with two tries: %v", err)
	}
	if got := b.state(); got.Trial != id || got.TriesLeft != 2 {
		b.t.Errorf("trial %q with %d tries left", got.Trial, got.TriesLeft)
	}
}

func (b *bootBench) setDefault(id string) {
	b.t.Helper()
	if err := b.plugin.SetDefault(b.t.Context(), id); err != nil {
		b.t.Fatalf("SetDefault: %v", err)
	}
}

func (b *bootBench) verify(ids ...string) {
	b.t.Helper()
	for _, id := range ids {
		if err := b.plugin.Verify(b.t.Context(), id); err != nil {
			b.t.Errorf("Verify: %v", err)
		}
	}
}

func (b *bootBench) room() sdk.Room {
	b.t.Helper()
	room, err := b.plugin.Room(b.t.Context())
	if err != nil {
		b.t.Fatalf("Room: %v", err)
	}
	return room
}

func (b *bootBench) state() sdk.BootState {
	b.t.Helper()
	state, err := b.plugin.State(b.t.Context())
	if err != nil {
		b.t.Fatalf("State: %v", err)
	}
	return state
}

func (b *bootBench) ids() []string {
	b.t.Helper()
	var ids []string
	for _, entry := range b.state().Entries {
		ids = append(ids, entry.ID)
	}
	return ids
}

func (b *bootBench) inState(id string) sdk.InstalledEntry {
	b.t.Helper()
	for _, entry := range b.state().Entries {
		if entry.ID == id {
			return entry
		}
	}
	b.t.Fatalf("the state has no entry %s", id)
	return sdk.InstalledEntry{}
}

// wantChoice checks what the loader would do.
func (b *bootBench) wantChoice(defaultID, trial string) {
	b.t.Helper()
	tries := 0
	if trial != "" {
		tries = 1
	}
	b.wantTries(defaultID, trial, tries)
}

func (b *bootBench) wantTries(defaultID, trial string, tries int) {
	b.t.Helper()
	got := b.state()
	if got.Default != defaultID || got.Trial != trial || got.TriesLeft != tries {
		b.t.Errorf("default %q, trial %q, %d tries left; want default %q, trial %q, %d", got.Default, got.Trial, got.TriesLeft, defaultID, trial, tries)
	}
	if got.Damage != "" {
		b.t.Errorf("nothing was damaged, and the state says %q", got.Damage)
	}
}

// countsOfTries gives what Arm is asked for: one, and where the loader counts also
// the least and the most that every such loader counts.
func (b *bootBench) countsOfTries() []int {
	if b.can.Has(sdk.CapabilityCounted) {
		return []int{1, 2, 9}
	}
	return []int{1}
}

// wantStart lets the loader start, without a plugin that would keep it from that.
func (b *bootBench) wantStart(id string, trial bool) {
	b.t.Helper()
	closeBoot(b.t, b.plugin)
	gotID, gotTrial := b.target.Start(b.t)
	b.open()
	if gotID != id || gotTrial != trial {
		b.t.Errorf("the loader boots entry %q, for a trial: %t; want %q, %t", gotID, gotTrial, id, trial)
	}
}

// wantStartAfterTrial expects the default twice, to see that nothing is left over.
func (b *bootBench) wantStartAfterTrial(id string) {
	b.t.Helper()
	b.wantTries(id, "", 0)
	for range 2 {
		if b.target.Start != nil {
			b.wantStart(id, false)
		}
	}
}

// listing gives every path of the boot filesystem with what would show a change.
func (b *bootBench) listing() map[string]string {
	b.t.Helper()
	return listTree(b.t, b.target.Directory)
}

// files gives the part of the listing that belongs to the entries: their files, as
// the state has them.
func (b *bootBench) files(ids ...string) map[string]string {
	b.t.Helper()
	all, own := b.listing(), map[string]string{}
	for _, id := range ids {
		for _, file := range b.inState(id).Kernel.Files {
			text, ok := all[file.Target]
			if !ok {
				b.t.Errorf("%s of entry %s is not there", file.Target, id)
			}
			own[file.Target] = text
		}
	}
	return own
}

// wantSameFiles compares like wantSame, and leaves times aside.
func (b *bootBench) wantSameFiles(call string, before map[string]string) {
	b.t.Helper()
	now := b.listing()
	maps.DeleteFunc(now, func(path, _ string) bool { _, ok := before[path]; return !ok })
	withoutTimes := func(listing map[string]string) map[string]string {
		files := map[string]string{}
		for path, text := range listing {
			fields := strings.Fields(text)
			files[path] = fields[0] + " " + fields[len(fields)-1]
		}
		return files
	}
	if diff := cmp.Diff(withoutTimes(before), withoutTimes(now)); diff != "" {
		b.t.Errorf("%s changed other files:\n%s", call, diff)
	}
}

// wantSame compares what is on the boot filesystem now with what was, for the paths
// of a listing; a whole one shows new paths too.
func (b *bootBench) wantSame(call string, before map[string]string) {
	b.t.Helper()
	now := b.listing()
	if _, whole := before["."]; !whole {
		maps.DeleteFunc(now, func(path, _ string) bool { _, ok := before[path]; return !ok })
	}
	if diff := cmp.Diff(before, now); diff != "" {
		b.t.Errorf("%s changed the boot filesystem:\n%s", call, diff)
	}
}

func listTree(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%v %v", info.Mode(), info.ModTime())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %s", len(data), digestText(string(data)))
		}
		found[relative] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// entry makes a request with a root tree of its own.
func (b *bootBench) entry(id, version string) sdk.Entry {
	b.t.Helper()
	return sdk.Entry{
		ID: id, Title: "Test " + version + " (it's \"" + id + "\")", Root: b.tree(version, 100_000),
		Arguments:      []string{"root=UUID=" + id, "rootflags=subvolid=260", "odd=$x;{y}", "ro"},
		TrialArguments: []string{"panic=10"},
	}
}

// tree makes a root tree with a kernel of so many bytes and an initrd of twice as
// many, and modules of this and another version.
func (b *bootBench) tree(version string, size int) string {
	b.t.Helper()
	dir := b.t.TempDir()
	writeFile(b.t, dir, "boot/vmlinuz-"+version, strings.Repeat("kernel "+version+"\n", size)[:size])
	writeFile(b.t, dir, "boot/initrd.img-"+version, strings.Repeat("initrd "+version+"\n", 2*size)[:2*size])
	writeFile(b.t, dir, "usr/lib/modules/"+version+"/modules.dep", "")
	writeFile(b.t, dir, "usr/lib/modules/5.10.0/modules.dep", "")
	b.furnish(dir)
	return dir
}

func (b *bootBench) furnish(root string) {
	b.t.Helper()
	if b.target.Furnish != nil {
		b.target.Furnish(b.t, root)
	}
}

// bigTree makes a root tree whose kernel is sparse.
func (b *bootBench) bigTree(version string, size int64) string {
	b.t.Helper()
	dir := b.t.TempDir()
	writeFile(b.t, dir, "boot/vmlinuz-"+version, "k")
	if err := os.Truncate(filepath.Join(dir, "boot/vmlinuz-"+version), size); err != nil {
		b.t.Fatal(err)
	}
	b.furnish(dir)
	return dir
}

// damages are what a crash or a disk may do to a file.
func damages() map[string]func(testing.TB, string) {
	return map[string]func(testing.TB, string){
		"removal":       removeFile,
		"a flipped bit": flipBit,
		"truncation": func(t testing.TB, path string) {
			t.Helper()
			if err := os.Truncate(path, 1); err != nil {
				t.Fatal(err)
			}
		},
	}
}

func removeFile(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// flipBit changes one bit in the middle of a file. Twice, it is as before.
func flipBit(t testing.TB, path string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	if _, err := file.ReadAt(one, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 0x10
	if _, err := file.WriteAt(one, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t testing.TB, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func digestText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
