package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestWorksWhereRootIsMountedReadOnly(t *testing.T) {
	b := newBench(t, loopback.Options{})
	b.create("snapshots/root")
	top := b.device.Mount(t, "subvolid=5")
	root := b.device.Mount(t, "subvol=snapshots/root", "ro")
	b.device.Unmount(t, top)
	b.open()
	if err := b.fs.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.write("snapshots/root", "file", "written from beside")
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("the root that was mounted read-only can be written: %v", err)
	}
	b.checkFindings()
}

func TestFindsDevices(t *testing.T) {
	const label = "tb situations"
	b := newBench(t, loopback.Options{MkfsArguments: []string{"-L", label}})
	uuid := superblockOf(t, b.device.Path)
	for _, setting := range []string{"UUID=" + uuid, "UUID=" + strings.ToUpper(uuid), "LABEL=" + label, `LABEL="` + label + `"`} {
		t.Run(setting, func(t *testing.T) {
			b := &bench{t: t, device: b.device}
			b.configure(sdk.Setup{Settings: map[string]string{keyDevice: setting}})
			volume, err := b.fs.Volume(t.Context())
			if err != nil || volume.ID != uuid || volume.Device != b.device.Path {
				t.Errorf("got %+v, %v", volume, err)
			}
		})
	}
}

func superblockOf(t testing.TB, device string) string {
	t.Helper()
	block, err := readSuperblock(device)
	if err != nil {
		t.Fatal(err)
	}
	return block.UUID
}

func TestFilesystemOfTwoDevices(t *testing.T) {
	first, second := loopback.New(t, loopback.Options{Size: 256 << 20}), loopback.New(t, loopback.Options{Size: 256 << 20})
	if err := loopback.Format(t.Context(), second.Path, loopback.Btrfs, "-d", "raid1", "-m", "raid1", first.Path); err != nil {
		t.Fatal(err)
	}
	first.Filesystem = loopback.Btrfs
	b := &bench{t: t, device: first}
	// mkfs made the kernel know both; a machine that starts knows none.
	run(t, "btrfs", "device", "scan", "--forget")
	b.open()
	before, err := b.fs.Volume(t.Context())
	if err != nil || before.TotalBytes > 300<<20 {
		t.Errorf("two mirrored devices of 256 MiB make %+v, %v", before, err)
	}
	b.checkFindings()
	b.close()

	second.Close(t)
	run(t, "btrfs", "device", "scan", "--forget")
	err = newPlugin("test").Configure(t.Context(), sdk.Setup{
		Settings: map[string]string{keyDevice: first.Path}, RunDirectory: t.TempDir(),
	})
	if err == nil || !strings.Contains(err.Error(), first.Path) {
		t.Errorf("Configure without the second device: %v", err)
	}
	first.Mount(t, "degraded")
	b.open()
	b.checkFindings("blocking: device 2 of the filesystem is missing")
}

func TestReadOnlyDevice(t *testing.T) {
	b := newBench(t, loopback.Options{})
	b.create("snapshots/root", "snapshots/other")
	setReadOnly(t, b.device.Path)
	b.open()
	b.holds("snapshots/root", "name", "snapshots/root")
	b.checkFindings("blocking: the filesystem is read-only")
	ctx, root, other := t.Context(), b.id("snapshots/root"), b.id("snapshots/other")
	for name, change := range map[string]func() error{
		"Prepare":    func() error { return b.fs.Prepare(ctx) },
		"Snapshot":   func() error { _, err := b.fs.Snapshot(ctx, root, "snapshots/new", true); return err },
		"Rename":     func() error { return b.fs.Rename(ctx, root, "snapshots/new") },
		"Exchange":   func() error { return b.fs.Exchange(ctx, "snapshots/root", other) },
		"Delete":     func() error { return b.fs.Delete(ctx, other) },
		"Seal":       func() error { return b.fs.Seal(ctx, other) },
		"SetDefault": func() error { return b.fs.SetDefault(ctx, other) },
	} {
		if err := change(); !errors.Is(err, sdk.ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// setReadOnly write-protects a block device until the test ends.
func setReadOnly(t testing.TB, path string) {
	t.Helper()
	device, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if err := unix.IoctlSetPointerInt(int(device.Fd()), unix.BLKROSET, 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if device, err := os.Open(path); err == nil {
			defer device.Close()
			_ = unix.IoctlSetPointerInt(int(device.Fd()), unix.BLKROSET, 0)
		}
	})
}

func TestFullFilesystem(t *testing.T) {
	b := newBench(t, loopback.Options{Size: 128 << 20})
	b.create("snapshots/root", "snapshots/old")
	b.open()
	root := b.lookup("snapshots/root")
	volume, err := b.fs.Volume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// What it says is free can be written.
	if err := fill(filepath.Join(root.Path, "data"), int64(volume.FreeBytes)); err != nil {
		t.Errorf("%d bytes were said to be free: %v", volume.FreeBytes, err)
	}
	if err := b.fs.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	if err := fill(filepath.Join(root.Path, "more"), 1<<40); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk does not get full: %v", err)
	}
	var last error
	for i := range 100_000 {
		// Links are kept within the metadata.
		if last = os.Symlink(strings.Repeat("t", 3900), filepath.Join(root.Path, fmt.Sprint(i))); last != nil {
			break
		}
	}
	if !errors.Is(last, unix.ENOSPC) {
		t.Fatalf("the metadata does not get full: %v", last)
	}
	b.checkFindings("warning: the filesystem is nearly full")
	volume, err = b.fs.Volume(t.Context())
	if err != nil || volume.FreeBytes > 8<<20 || volume.MetadataFreeBytes > 8<<20 {
		t.Errorf("a full filesystem says %+v, %v", volume, err)
	}
	for i := range 1000 {
		_, err = b.fs.Snapshot(t.Context(), root.Identity, fmt.Sprintf("snapshots/%d", i), false)
		if err != nil {
			break
		}
	}
	if err != nil && !errors.Is(err, sdk.ErrNoSpace) {
		t.Errorf("Snapshot on a full filesystem: %v", err)
	}
	// Without this there would be no way back.
	if err := b.fs.Delete(t.Context(), b.id("snapshots/old")); err != nil {
		t.Errorf("Delete on a full filesystem: %v", err)
	}
}

// fill writes a file of random content in pieces.
func fill(path string, size int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	random, err := os.Open("/dev/urandom")
	if err != nil {
		return err
	}
	defer random.Close()
	piece := make([]byte, 1<<20)
	for ; size > 0; size -= int64(len(piece)) {
		if _, err := random.Read(piece); err != nil {
			return err
		}
		if _, err := file.Write(piece[:min(size, int64(len(piece)))]); err != nil {
			return err
		}
	}
	return file.Sync()
}

func TestCheckFindsWhatStandsInTheWay(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(b *bench, top string)
		want    []string
	}{
		{"nothing", func(*bench, string) {}, nil},
		{"another default", func(b *bench, top string) { run(b.t, "btrfs", "subvolume", "set-default", "5", top) },
			[]string{`warning: it is subvolume 256, but the default is "." (subvolume 5)`}},
		{"nested subvolumes", func(b *bench, top string) {
			run(b.t, "btrfs", "subvolume", "create", filepath.Join(top, "snapshots/root/srv"))
			run(b.t, "btrfs", "subvolume", "create", filepath.Join(top, "snapshots/root/home"))
		}, []string{"blocking: it is a subvolume inside of snapshots/root", "blocking: it is a subvolume inside of snapshots/root"}},
		{"quota", func(b *bench, top string) { run(b.t, "btrfs", "quota", "enable", top) },
			[]string{"note: quota groups are enabled"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, loopback.Options{})
			b.create("snapshots/root")
			top := b.device.Mount(t, "subvolid=5")
			run(t, "btrfs", "subvolume", "set-default", filepath.Join(top, "snapshots/root"))
			c.prepare(b, top)
			b.device.Unmount(t, top)
			b.open()
			b.findings(c.want...)
		})
	}
}

// checkFindings compares the findings but for the one about the default, which the
// filesystems of most tests leave alone.
func (b *bench) checkFindings(want ...string) {
	b.t.Helper()
	b.compareFindings(want, func(f sdk.Finding) bool { return !strings.Contains(f.Problem, "but the default is") })
}

func (b *bench) findings(want ...string) {
	b.t.Helper()
	b.compareFindings(want, func(sdk.Finding) bool { return true })
}

// compareFindings wants findings "SEVERITY: BEGINNING OF THE PROBLEM".
func (b *bench) compareFindings(want []string, keep func(sdk.Finding) bool) {
	b.t.Helper()
	findings, err := b.fs.Check(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	var got []string
	for _, f := range findings {
		if keep(f) {
			got = append(got, fmt.Sprintf("%s: %s", f.Severity, f.Problem))
		}
	}
	for i := range got {
		if i < len(want) && strings.HasPrefix(got[i], want[i]) {
			got[i] = want[i]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestSubvolumesWithinSubvolumesHaveTheirPath(t *testing.T) {
	b := newBench(t, loopback.Options{})
	names := []string{"a", "a/b", "a/with some/directories/c", "a/with some/directories/c/d", "e/f"}
	b.create(names...)
	b.open()
	list, err := b.fs.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		got = append(got, s.Name)
	}
	if diff := cmp.Diff(append([]string{"."}, names...), got); diff != "" {
		t.Error(diff)
	}
	for _, name := range names {
		b.holds(name, "name", name)
	}
}

// Many subvolumes take several rounds of a tree search.
func TestManySubvolumes(t *testing.T) {
	b := newBench(t, loopback.Options{})
	b.create("root")
	b.open()
	var want []string
	for i := range 300 {
		name := fmt.Sprintf("%03d-%s", i, strings.Repeat("n", 200))
		if _, err := b.fs.Snapshot(t.Context(), b.id("root"), name, i%2 == 0); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	list, err := b.fs.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		got = append(got, s.Name)
	}
	if diff := cmp.Diff(slices.Concat([]string{"."}, want, []string{"root"}), got); diff != "" {
		t.Error(diff)
	}
}

func TestPrepareRefusesWhatIsInItsWay(t *testing.T) {
	for name, block := range map[string]func(top string) error{
		"a directory for the state": func(top string) error { return os.Mkdir(filepath.Join(top, stateName), 0o755) },
		"a link for the state":      func(top string) error { return os.Symlink("/etc", filepath.Join(top, stateName)) },
		"a file for the snapshots":  func(top string) error { return os.WriteFile(filepath.Join(top, snapshotsName), nil, 0o644) },
		"a link for the snapshots":  func(top string) error { return os.Symlink("/etc", filepath.Join(top, snapshotsName)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, loopback.Options{})
			top := b.device.Mount(t, "subvolid=5")
			if err := block(top); err != nil {
				t.Fatal(err)
			}
			b.device.Unmount(t, top)
			b.open()
			if err := b.fs.Prepare(t.Context()); !errors.Is(err, sdk.ErrExists) {
				t.Errorf("Prepare: %v", err)
			}
		})
	}
}

func TestDoesNotDeleteWhatIsMounted(t *testing.T) {
	b := newBench(t, loopback.Options{})
	b.create("snapshots/a", "snapshots/a2")
	link := filepath.Join(t.TempDir(), "run")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	b.run = link // as /var/run often is
	b.open()
	for _, options := range [][]string{{"subvol=snapshots/a"}, {"subvolid=" + string(b.id("snapshots/a"))}} {
		directory := b.device.Mount(t, options...)
		err := b.fs.Delete(t.Context(), b.id("snapshots/a"))
		if !errors.Is(err, sdk.ErrBusy) || !strings.Contains(err.Error(), directory) {
			t.Errorf("Delete: %v", err)
		}
		b.device.Unmount(t, directory)
	}
	if err := b.fs.Delete(t.Context(), b.id("snapshots/a2")); err != nil {
		t.Error(err)
	}
	if err := b.fs.Delete(t.Context(), b.id("snapshots/a")); err != nil {
		t.Error(err)
	}
}

func TestChangesEndWhenCancelled(t *testing.T) {
	b := newBench(t, loopback.Options{})
	b.create("snapshots/root")
	b.open()
	a, err := b.fs.Snapshot(t.Context(), b.id("snapshots/root"), "snapshots/a", true)
	if err != nil {
		t.Fatal(err)
	}
	root := b.lookup("snapshots/root").Path
	for i := range 5000 {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprint(i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	after, err := b.fs.Snapshot(t.Context(), b.id("snapshots/root"), "snapshots/b", true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err = b.fs.Changes(ctx, a.Identity, after.Identity, func(sdk.Change) error {
		calls++
		cancel()
		return nil
	})
	if !errors.Is(err, sdk.ErrCancelled) || calls != 1 {
		t.Errorf("after %d calls: %v", calls, err)
	}
	// Nothing keeps the subvolumes busy.
	if err := b.fs.Delete(t.Context(), after.Identity); err != nil {
		t.Error(err)
	}
}
