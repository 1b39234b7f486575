package loopback_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) { loopback.Main(m) }

func TestFilesystemsCanBeWrittenAndReadAgain(t *testing.T) {
	for _, filesystem := range []loopback.Filesystem{loopback.Btrfs, loopback.Ext2, loopback.Ext3, loopback.Ext4} {
		t.Run(string(filesystem), func(t *testing.T) {
			t.Parallel()
			d := loopback.New(t, loopback.Options{Filesystem: filesystem})
			directory := d.Mount(t, "noatime")
			want := []byte("kept over an unmount")
			if err := os.WriteFile(filepath.Join(directory, "file"), want, 0o600); err != nil {
				t.Fatal(err)
			}
			d.Unmount(t, directory)
			got, err := os.ReadFile(filepath.Join(d.Mount(t, "ro"), "file"))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
			infos, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) { return i.Source != d.Path, false })
			if err != nil || len(infos) != 1 || infos[0].FSType != string(filesystem) {
				t.Errorf("mounts of %s: %v, %v; want one of %s", d.Path, infos, err, filesystem)
			}
		})
	}
}

func TestParallelAttachesGetDevicesOfTheirOwn(t *testing.T) {
	const parallel = 24
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]string{}
	devices := make([]*loopback.Loop, parallel)
	directory := t.TempDir()
	for i := range parallel {
		image := filepath.Join(directory, string(rune('a'+i)))
		if err := loopback.CreateImage(image, 1<<20); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			l, err := loopback.Attach(image)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if other, ok := seen[l.Path]; ok {
				t.Errorf("%s and %s are both on %s", other, image, l.Path)
			}
			seen[l.Path], devices[i] = image, l
		})
	}
	wg.Wait()
	for _, l := range devices {
		if l == nil {
			continue
		}
		if err := l.Detach(); err != nil {
			t.Error(err)
		}
		if err := l.Detach(); err != nil {
			t.Errorf("second Detach: %v", err)
		}
	}
}

// TestCleanUp runs the tests below in programs of their own, which end in ways
// that a test of this process could not survive, and looks at what is left.
func TestCleanUp(t *testing.T) {
	for _, ending := range []string{"fatal", "panic", "exit", "kill", "detach mounted"} {
		t.Run(ending, func(t *testing.T) {
			directory := t.TempDir()
			command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEnding$", "-test.v")
			// Without the parent's marker the child isolates itself again, as the
			// test program of another package does.
			command.Env = append(os.Environ(), "TBUPDATE_TEST_ISOLATED=", "LOOPBACK_ENDING="+ending, "TMPDIR="+directory)
			output, err := command.CombinedOutput()
			if (err == nil) == (ending != "detach mounted") {
				t.Fatalf("unexpected exit %v:\n%s", err, output)
			}
			if !strings.Contains(string(output), "mounted") {
				t.Fatalf("it did not come to the end that was to be tried:\n%s", output)
			}
			backings, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
			if err != nil {
				t.Fatal(err)
			}
			for _, backing := range backings {
				if image, _ := os.ReadFile(backing); strings.HasPrefix(string(image), directory) {
					t.Errorf("%s still has %s", backing, image)
				}
			}
		})
	}
}

// TestEnding is what TestCleanUp starts.
func TestEnding(t *testing.T) {
	ending := os.Getenv("LOOPBACK_ENDING")
	if ending == "" {
		t.Log("started by TestCleanUp only")
		return
	}
	d := loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs})
	directory := d.Mount(t)
	t.Log("mounted", directory)
	switch ending {
	case "fatal":
		t.Fatal("as asked")
	case "panic":
		panic("as asked")
	case "exit":
		os.Exit(3)
	case "kill":
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		_ = self.Kill()
		select {}
	case "detach mounted":
		err := d.Detach()
		if err == nil || !strings.Contains(err.Error(), "still mounted") {
			t.Errorf("Detach of a mounted device: %v", err)
		}
	}
}

func TestPartitionsAreDevicesOfTheirOwn(t *testing.T) {
	d := loopback.New(t, loopback.Options{Size: 256 << 20})
	const start, length = 1 << 20, 64 << 20
	path, err := d.AddPartition(1, start, length)
	if err != nil {
		t.Fatal(err)
	}
	if err := loopback.Format(t.Context(), path, loopback.Ext4); err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	if err := loopback.Mount(path, directory, loopback.Ext4); err != nil {
		t.Fatal(err)
	}
	if err := loopback.Unmount(directory); err != nil {
		t.Fatal(err)
	}
	magic := make([]byte, 2)
	image, err := os.Open(d.Image)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	// The superblock is 1024 bytes into an ext4 filesystem, its magic 0x38 further.
	if _, err := image.ReadAt(magic, start+1024+0x38); err != nil || !bytes.Equal(magic, []byte{0x53, 0xef}) {
		t.Errorf("magic at the partition's place in the image: %x, %v", magic, err)
	}
	if _, err := d.AddPartition(1, start, length); err == nil {
		t.Error("a second partition 1 was accepted")
	}
	d.Close(t)
	if _, err := os.Stat("/sys/block/" + filepath.Base(d.Path) + "/" + filepath.Base(path)); err == nil {
		t.Errorf("%s is still there after Close", path)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	if err := loopback.CreateImage(image, 1<<20); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name string
		run  func() error
		want string
	}{
		{"unknown filesystem", func() error { return loopback.Format(context.Background(), image, "minix") }, `unknown filesystem "minix"`},
		{"mkfs fails", func() error { return loopback.Format(context.Background(), image, loopback.Btrfs) }, "mkfs.btrfs"},
		{"no image", func() error { _, err := loopback.Attach(image + "-none"); return err }, "no such file"},
		{"image exists", func() error { return loopback.CreateImage(image, 1) }, "file exists"},
		{"not mountable", func() error { return loopback.Mount("/dev/null", t.TempDir(), loopback.Ext4) }, "cannot mount /dev/null"},
		{"not mounted", func() error { return loopback.Unmount(t.TempDir()) }, "cannot unmount"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}
