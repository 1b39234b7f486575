package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// insideVariable tells the test program that it runs with the test's btrfs as "/".
const insideVariable = "BTRFS_TEST_INSIDE"

// TestRunningSystem runs TestInside in a mount namespace where "/" is
// snapshots/root, and nothing else of the volume is mounted.
func TestRunningSystem(t *testing.T) {
	b := newBench(t, loopback.Options{})
	b.create("snapshots/root", "snapshots/other")
	root := b.device.Mount(t, "subvol=snapshots/root")
	// The test program may be linked to the host's libraries.
	for _, directory := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib64", "/dev", "/proc", "/sys", filepath.Dir(os.Args[0])} {
		bindInto(t, root, directory)
	}
	for _, directory := range []string{"tmp", "run"} {
		if err := os.MkdirAll(filepath.Join(root, directory), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInside$", "-test.v")
	command.Env = append(os.Environ(), insideVariable+"="+b.device.Path, "TMPDIR=/tmp")
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	output, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "PASS: TestInside") {
		t.Errorf("%v\n%s", err, output)
	}
	// What ran as "/" has another name now, and the file that was open in it holds
	// what was written after that.
	b.open()
	b.holds("snapshots/other", "log", "written after the exchange")
	b.holds("snapshots/root", "name", "snapshots/other")
}

// bindInto makes a directory of the host seen at the same path below root.
func bindInto(t *testing.T, root, directory string) {
	t.Helper()
	resolved, err := filepath.EvalSymlinks(directory)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	target := filepath.Join(root, directory)
	if err := os.MkdirAll(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(resolved, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestInside is what TestRunningSystem starts.
func TestInside(t *testing.T) {
	device := os.Getenv(insideVariable)
	if device == "" {
		t.Log("started by TestRunningSystem only")
		return
	}
	log, err := os.Create("/log")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t}
	b.configure(sdk.Setup{Live: true, CommandLine: "root=" + device + " rootflags=subvol=snapshots/root"})
	volume, err := b.fs.Volume(t.Context())
	if err != nil || volume.Device != device {
		t.Errorf("it found %+v, %v; want %s", volume, err, device)
	}
	root, other := b.lookup("snapshots/root"), b.lookup("snapshots/other")
	if s, err := b.fs.Booted(t.Context(), "root="+device+" rootflags=subvol=snapshots/root"); err != nil || s.Identity != root.Identity {
		t.Errorf("Booted: %+v, %v", s, err)
	}
	if _, err := b.fs.Booted(t.Context(), "root="+otherDevice(t)); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("Booted from another device: %v", err)
	}
	if err := b.fs.SetDefault(t.Context(), root.Identity); err != nil {
		t.Fatal(err)
	}
	b.findings()
	if err := b.fs.Exchange(t.Context(), "snapshots/root", other.Identity); err != nil {
		t.Fatal(err)
	}
	if err := b.fs.SetDefault(t.Context(), other.Identity); err != nil {
		t.Fatal(err)
	}
	b.findings(`note: / is "snapshots/other"`)
	err = b.fs.Delete(t.Context(), root.Identity)
	if !errors.Is(err, sdk.ErrBusy) || !strings.Contains(err.Error(), "mounted as /") {
		t.Errorf("Delete of what runs: %v", err)
	}
	if _, err := log.WriteString("written after the exchange"); err != nil {
		t.Error(err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}

// otherDevice gives a block device that is not the volume's.
func otherDevice(t *testing.T) string {
	t.Helper()
	devices, err := filepath.Glob("/dev/loop*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range devices {
		if info, err := os.Stat(path); err == nil && info.Mode().Type() == os.ModeDevice && path != os.Getenv(insideVariable) {
			return path
		}
	}
	t.Fatal("there is no other loop device")
	return ""
}
