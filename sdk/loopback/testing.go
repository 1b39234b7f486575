package loopback

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Options say what New makes.
type Options struct {
	// Filesystem to format with; "" leaves the device empty.
	Filesystem Filesystem
	// Size of the image in bytes; 0 means 512 MiB for btrfs and 64 MiB for
	// everything else. Images are sparse.
	Size int64
	// MkfsArguments are added to those of the mkfs program, such as "-L", "boot".
	MkfsArguments []string
}

// Device is a loop device that belongs to one test.
type Device struct {
	*Loop
	Filesystem Filesystem

	mounts []string
}

// New makes an image in a temporary directory of the test, formats it and binds
// it to a loop device. All of it is undone when the test ends, also when it
// fails or panics. It fails the test, rather than to skip it, where root or the
// mkfs program is missing.
func New(t testing.TB, options Options) *Device {
	t.Helper()
	requireRoot(t)
	size := options.Size
	if size == 0 {
		size = defaultSize(options.Filesystem)
	}
	image := filepath.Join(t.TempDir(), "disk.img")
	if err := CreateImage(image, size); err != nil {
		t.Fatal(err)
	}
	if options.Filesystem != "" {
		if err := Format(t.Context(), image, options.Filesystem, options.MkfsArguments...); err != nil {
			t.Fatal(err)
		}
	}
	return Open(t, image, options.Filesystem)
}

// defaultSize is the smallest round size at which a test rarely fills the
// filesystem by accident.
func defaultSize(filesystem Filesystem) int64 {
	if filesystem == Btrfs {
		return 512 << 20
	}
	return 64 << 20
}

// Open binds an existing image, which stays the caller's, to a loop device for
// the length of the test.
func Open(t testing.TB, image string, filesystem Filesystem) *Device {
	t.Helper()
	requireRoot(t)
	if !isolating {
		t.Fatal("TestMain of this package has to call loopback.Main: otherwise a mount namespace that somebody makes meanwhile keeps a copy of this test's mounts")
	}
	loop, err := Attach(image)
	if err != nil {
		t.Fatal(err)
	}
	d := &Device{Loop: loop, Filesystem: filesystem}
	t.Cleanup(func() { d.Close(t) })
	return d
}

func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, for loop devices and mounts: run it with sudo")
	}
}

// Mount mounts the device on a new directory and gives its path. Options are as
// for the function Mount. It is unmounted when the test ends.
func (d *Device) Mount(t testing.TB, options ...string) string {
	t.Helper()
	directory := t.TempDir()
	if err := Mount(d.Path, directory, d.Filesystem, options...); err != nil {
		t.Fatal(err)
	}
	d.mounts = append(d.mounts, directory)
	return directory
}

// Unmount undoes one Mount. It fails the test when the mount is busy.
func (d *Device) Unmount(t testing.TB, directory string) {
	t.Helper()
	d.mounts = slices.DeleteFunc(d.mounts, func(m string) bool { return m == directory })
	if err := Unmount(directory); err != nil {
		t.Error(err)
	}
}

// LoseBlock writes other bytes over the first block of a file of a btrfs, below the
// filesystem, as a disk does that fails. path is that within what a mount with these options
// shows; nothing of the filesystem may be mounted.
func (d *Device) LoseBlock(t testing.TB, path string, options ...string) {
	t.Helper()
	run := func(program string, arguments ...string) string {
		output, err := exec.CommandContext(t.Context(), program, arguments...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", program, arguments, err, output)
		}
		return string(output)
	}
	top := d.Mount(t, options...)
	// What filefrag takes for physical places are logical ones of btrfs.
	extents := run("filefrag", "-b1", "-v", filepath.Join(top, path))
	d.Unmount(t, top)
	logical := firstExtent.FindStringSubmatch(extents)
	if logical == nil {
		t.Fatalf("%s has no extent:\n%s", path, extents)
	}
	mapped := run("btrfs-map-logical", "-l", logical[1], d.Path)
	physical := mappedPlace.FindStringSubmatch(mapped)
	if physical == nil {
		t.Fatalf("nobody knows where %s is:\n%s", path, mapped)
	}
	run("dd", "if=/dev/urandom", "of="+d.Path, "bs=4096", "count=1", "conv=notrunc,fsync", "oflag=seek_bytes", "seek="+physical[1])
}

var (
	firstExtent = regexp.MustCompile(`(?m)^ +0: +\d+\.\. +\d+: +(\d+)`)
	mappedPlace = regexp.MustCompile(`physical (\d+)`)
)

// Close undoes every Mount, last one first, and releases the loop device; the
// image stays until the test ends. The test's end calls it too.
func (d *Device) Close(t testing.TB) {
	t.Helper()
	for len(d.mounts) > 0 {
		d.Unmount(t, d.mounts[len(d.mounts)-1])
	}
	if err := d.Detach(); err != nil {
		t.Error(err)
	}
}

// isolated is the environment variable by which Main knows its second start.
const isolated = "TBUPDATE_TEST_ISOLATED"

// isolating says that Isolate was called.
var isolating bool

// Main runs a package's tests in a mount namespace of their own: whatever they
// mount is seen by their own processes only, and ends with the last of these,
// also when the test program is killed or stops at its time limit, where no
// cleanup function runs. Use it as
//
//	func TestMain(m *testing.M) { loopback.Main(m) }
//
// Without the right to make a namespace the tests run where they are.
func Main(m *testing.M) {
	Isolate()
	os.Exit(m.Run())
}

// Isolate is what Main does before it runs the tests, for a TestMain that has more
// to do. It starts this program again, in the same process, in a new mount
// namespace, and returns there; where that is not possible, here.
func Isolate() {
	isolating = true
	if os.Getenv(isolated) != "" {
		return
	}
	// unshare works on the calling thread; exec keeps that thread's namespace and
	// ends all others.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return
	}
	// Otherwise mounts would still spread where / is shared, as systemd has it.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return
	}
	program, err := os.Executable()
	if err != nil {
		return
	}
	if err := os.Setenv(isolated, "1"); err != nil {
		return
	}
	_ = unix.Exec(program, os.Args, os.Environ())
}
