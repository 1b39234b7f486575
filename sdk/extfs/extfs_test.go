package extfs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk/durable"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) { loopback.Main(m) }

func filesystems() []loopback.Filesystem {
	return []loopback.Filesystem{loopback.Ext2, loopback.Ext3, loopback.Ext4}
}

func openTest(t *testing.T, filesystem loopback.Filesystem) (*loopback.Device, *Volume) {
	t.Helper()
	device := loopback.New(t, loopback.Options{Filesystem: filesystem, MkfsArguments: []string{"-L", "boot"}})
	v, err := OpenMount(device.Mount(t))
	if err != nil {
		t.Fatal(err)
	}
	v.markers = t.TempDir()
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return device, v
}

// onDisk reads a file from the image below a mounted filesystem, without replaying
// its journal: as a boot loader finds it.
func onDisk(t *testing.T, device *loopback.Device, path string) string {
	t.Helper()
	output, err := exec.Command("debugfs", "-R", "cat /"+path, device.Image).Output()
	if err != nil {
		t.Fatalf("this test needs debugfs (apt-get install e2fsprogs): %v", err)
	}
	return string(output)
}

func TestSettleBringsFilesToTheirPlace(t *testing.T) {
	for _, filesystem := range filesystems() {
		for name, freeze := range map[string]bool{"checkpoint": false, "freeze": true} {
			t.Run(string(filesystem)+" by "+name, func(t *testing.T) {
				device, v := openTest(t, filesystem)
				v.forceFreeze = freeze
				if err := os.Mkdir(v.Path("dir"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := durable.Create(v.Path("dir/file"), []byte("content")); err != nil {
					t.Fatal(err)
				}
				if err := v.Settle(); err != nil {
					t.Fatal(err)
				}
				if got := onDisk(t, device, "dir/file"); got != "content" {
					t.Errorf("a boot loader reads %q", got)
				}
				if left, _ := filepath.Glob(filepath.Join(v.markers, "*")); len(left) > 0 {
					t.Errorf("markers stay: %v", left)
				}
				// It is not frozen: this would hang.
				if err := durable.Create(v.Path("after"), nil); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestReplace(t *testing.T) {
	for _, filesystem := range filesystems() {
		t.Run(string(filesystem), func(t *testing.T) {
			device, v := openTest(t, filesystem)
			for _, text := range []string{"one", "two", "three"} {
				if err := v.Replace(v.Path("file"), []byte(text)); err != nil {
					t.Fatal(err)
				}
				if got := onDisk(t, device, "file"); got != text {
					t.Errorf("a boot loader reads %q, want %q", got, text)
				}
			}
			if left, _ := filepath.Glob(v.Path("file.*")); len(left) > 0 {
				t.Errorf("left over: %v", left)
			}
			// What a crash left does not matter.
			for _, leftover := range []string{"file.new", "file.old"} {
				if err := durable.Create(v.Path(leftover), []byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			if err := v.Replace(v.Path("file"), []byte("four")); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestOverwriteInPlace(t *testing.T) {
	for _, filesystem := range filesystems() {
		t.Run(string(filesystem), func(t *testing.T) {
			device, v := openTest(t, filesystem)
			path := v.Path("file")
			if err := durable.Create(path, []byte("0123456789")); err != nil {
				t.Fatal(err)
			}
			if err := v.Settle(); err != nil {
				t.Fatal(err)
			}
			if output, err := exec.Command("chattr", "+i", path).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, output)
			}
			if err := durable.Overwrite(path, 2, []byte("xx")); err != nil {
				t.Fatal(err)
			}
			if got := onDisk(t, device, "file"); got != "01xx456789" {
				t.Errorf("a boot loader reads %q", got)
			}
			if err := durable.Overwrite(path, 9, []byte("xx")); err == nil {
				t.Error("the file grew")
			}
			output, err := exec.Command("lsattr", path).Output()
			if err != nil || !strings.Contains(strings.Fields(string(output))[0], "i") {
				t.Errorf("the immutable flag is lost: %s %v", output, err)
			}
			if output, err := exec.Command("chattr", "-i", path).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, output)
			}
		})
	}
}

// A predecessor was killed between its freeze and its thaw.
func TestThawsWhatAKilledProcessFroze(t *testing.T) {
	_, v := openTest(t, loopback.Ext4)
	leave := func() {
		marker, err := createMarker(v.markerPath())
		if err != nil {
			t.Fatal(err)
		}
		marker.file.Close() // as the kernel does for the dead
	}
	leave()
	if err := unix.IoctlSetInt(int(v.dir.Fd()), ioctlFreeze, 0); err != nil {
		t.Fatal(err)
	}
	if err := v.thawLeftover(); err != nil {
		_ = thaw(int(v.dir.Fd()))
		t.Fatal(err)
	}
	if err := thaw(int(v.dir.Fd())); !errors.Is(err, unix.EINVAL) {
		t.Errorf("it was still frozen (%v)", err)
	}
	leave() // it was killed before it froze anything
	if err := v.thawLeftover(); err != nil {
		t.Error(err)
	}
	// Somebody else's freeze has no marker of ours, and stays.
	if err := unix.IoctlSetInt(int(v.dir.Fd()), ioctlFreeze, 0); err != nil {
		t.Fatal(err)
	}
	if err := v.thawLeftover(); err != nil {
		t.Error(err)
	}
	if err := thaw(int(v.dir.Fd())); err != nil {
		t.Errorf("a foreign freeze was undone (%v)", err)
	}
}

func TestOpenDevice(t *testing.T) {
	for _, filesystem := range filesystems() {
		t.Run(string(filesystem), func(t *testing.T) {
			device, mounted := openTest(t, filesystem)
			if mounted.Superblock.Kind != string(filesystem) || mounted.Superblock.Label != "boot" {
				t.Errorf("superblock %+v", mounted.Superblock)
			}
			for _, specification := range []string{device.Path, "UUID=" + mounted.Superblock.UUID} {
				run := t.TempDir()
				v, err := OpenDevice(specification, run)
				if err != nil {
					t.Fatal(err)
				}
				if v.Superblock.UUID != mounted.Superblock.UUID || !strings.HasPrefix(v.Directory, run) {
					t.Errorf("%s gives %+v in %s", specification, v.Superblock, v.Directory)
				}
				if err := v.Close(); err != nil {
					t.Fatal(err)
				}
				if left, err := os.ReadDir(run); err != nil || len(left) > 0 {
					t.Errorf("left over: %v %v", left, err)
				}
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	btrfs := loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs})
	tests := []struct {
		name string
		open func() (*Volume, error)
		want error
		text string
	}{
		{"not mounted", func() (*Volume, error) { return OpenMount(t.TempDir()) }, ErrNotFound, ""},
		{"btrfs mounted", func() (*Volume, error) { return OpenMount(btrfs.Mount(t)) }, ErrNotExt, "btrfs"},
		{"btrfs device", func() (*Volume, error) { return OpenDevice(btrfs.Path, t.TempDir()) }, ErrNotExt, "btrfs"},
		{"no such UUID", func() (*Volume, error) { return OpenDevice("UUID=11111111-2222-3333-4444-555555555555", t.TempDir()) }, ErrNotFound, ""},
		{"no device", func() (*Volume, error) { return OpenDevice("/dev/null", t.TempDir()) }, ErrNotFound, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v, err := test.open()
			if err == nil {
				v.Close()
			}
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func FuzzParseSuperblock(f *testing.F) {
	f.Add(make([]byte, SuperblockSize))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := ParseSuperblock(data); err == nil && (len(s.UUID) != 36 || s.BlockSize < 1024 || s.BlockSize > 65536) {
			t.Fatalf("%+v", s)
		}
	})
}
