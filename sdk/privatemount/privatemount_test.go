package privatemount

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) { loopback.Main(m) }

func entries(t *testing.T, directory string) []string {
	t.Helper()
	list, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// mount mounts a device until the test ends.
func mount(t *testing.T, device *loopback.Device) *Mount {
	t.Helper()
	m, err := New(device.Path, t.TempDir(), "ext4", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestMountsOfSeveralProcessesDoNotMeet(t *testing.T) {
	device := loopback.New(t, loopback.Options{Filesystem: loopback.Ext4})
	run := t.TempDir()
	first, err := New(device.Path, run, "ext4", "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := New(device.Path, run, "ext4", "")
	if err != nil {
		t.Fatal(err)
	}
	if first.Directory == second.Directory {
		t.Errorf("both are at %s", first.Directory)
	}
	if err := ClearStale(run); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, run); len(got) != 2 {
		t.Errorf("the mounts of a living process were cleared: %v are left", got)
	}
	for _, m := range []*Mount{first, second} {
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
	}
	if got := entries(t, run); len(got) != 0 {
		t.Errorf("%v are left", got)
	}
}

func TestMountsOfTheDeadAreCleared(t *testing.T) {
	device := loopback.New(t, loopback.Options{Filesystem: loopback.Ext4})
	run := t.TempDir()
	m, err := New(device.Path, run, "ext4", "")
	if err != nil {
		t.Fatal(err)
	}
	// A process with this id and another start time: the id was used again.
	dead := filepath.Join(run, prefix+"1-99999999999-x")
	if err := unix.Mount(m.Directory, m.Directory, "", unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(m.Directory, dead, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(run, "something-else")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := ClearStale(run); err != nil {
		t.Fatal(err)
	}
	left := strings.Join(entries(t, run), " ")
	if strings.Contains(left, "99999999999") || !strings.Contains(left, "something-else") {
		t.Errorf("%s are left", left)
	}
	if err := m.Unmount(); err != nil {
		t.Error(err)
	}
}

func TestReadOnlyDevice(t *testing.T) {
	device := loopback.New(t, loopback.Options{Filesystem: loopback.Ext4})
	device.Mount(t, "ro")
	if m := mount(t, device); !m.ReadOnly {
		t.Error("it is said to be writable")
	}
}

// TestRunDirectoryBehindLink: the mount point is what the table of mounts says.
func TestRunDirectoryBehindLink(t *testing.T) {
	device := loopback.New(t, loopback.Options{Filesystem: loopback.Ext4})
	link := filepath.Join(t.TempDir(), "run")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	m, err := New(device.Path, link, "ext4", "")
	if err != nil {
		t.Fatal(err)
	}
	if mounted, err := mountinfo.Mounted(m.Directory); err != nil || !mounted || strings.HasPrefix(m.Directory, link) {
		t.Errorf("%s is mounted: %t, %v", m.Directory, mounted, err)
	}
	if err := m.Unmount(); err != nil {
		t.Error(err)
	}
	if got := entries(t, link); len(got) != 0 {
		t.Errorf("%v are left", got)
	}
}

// TestProgramsRun: a new root is reached through such a mount, and programs in it
// have to run.
func TestProgramsRun(t *testing.T) {
	m := mount(t, loopback.New(t, loopback.Options{Filesystem: loopback.Ext4}))
	program := filepath.Join(m.Directory, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command(program).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
