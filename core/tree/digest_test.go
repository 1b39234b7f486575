package tree_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/core/tree/treetest"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of core/tree set owners, make device nodes and mount: run them as root")
		os.Exit(1)
	}
	loopback.Main(m)
}

type item = treetest.Item

// sample has an entry of every kind, with everything that a digest covers.
func sample() []item {
	return []item{
		{Path: "dir", Mode: treetest.Dir, Mtime: 5, Xattrs: map[string]string{"user.d": "1"}},
		{Path: "dir/empty", Mtime: 6},
		{Path: "dir/file", UID: 1, GID: 2, Mtime: -7, Content: "content", Xattrs: map[string]string{"user.x": "1", "user.y": ""}},
		{Path: "fifo", Mode: treetest.FIFO, Mtime: 8},
		{Path: "link", Mode: treetest.Lnk, Target: "dir/file", Mtime: 9, Xattrs: map[string]string{"trusted.l": "1"}},
		{Path: "null", Mode: treetest.Char, Rdev: unix.Mkdev(1, 3), Mtime: 10, Xattrs: map[string]string{"trusted.n": "1"}},
		{Path: "\xff\n", Mode: treetest.Block, Rdev: unix.Mkdev(259, 70000), Mtime: 1 << 33},
	}
}

func digest(t *testing.T, top string) string {
	t.Helper()
	d, err := tree.Digest(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDigestIsWhatItsPageSays keeps to the worked example of the format's page.
func TestDigestIsWhatItsPageSays(t *testing.T) {
	page, err := os.ReadFile("../../docs/format/tree-digest.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(page), "in hexadecimal:\n")
	if !found {
		t.Fatal("the page has no worked example")
	}
	record, err := hex.DecodeString(strings.Join(strings.Fields(example), ""))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(append([]byte("trebuchet tree digest 1\n"), record...))
	want := "sha256:" + hex.EncodeToString(sum[:])
	if got := digest(t, treetest.New(t, item{Path: "a"})); got != want {
		t.Errorf("digest of the example is %s, and the page's bytes give %s", got, want)
	}
}

func TestDigestIsTheSameOnEveryFilesystem(t *testing.T) {
	want := digest(t, treetest.New(t, sample()...))
	for _, filesystem := range []loopback.Filesystem{loopback.Ext4, loopback.Ext2, loopback.Btrfs} {
		t.Run(string(filesystem), func(t *testing.T) {
			top := filepath.Join(loopback.New(t, loopback.Options{Filesystem: filesystem}).Mount(t), "top")
			mkdir(t, top)
			if filesystem == loopback.Ext2 {
				// Times of ext2 have 32 bits.
				items := sample()
				items[len(items)-1].Mtime = 1
				treetest.Build(t, top, items)
				if got, want := digest(t, top), digest(t, treetest.New(t, items...)); got != want {
					t.Errorf("digest is %s, want %s", got, want)
				}
				return
			}
			treetest.Build(t, top, sample())
			if got := digest(t, top); got != want {
				t.Errorf("digest is %s, want %s", got, want)
			}
		})
	}
	t.Run("tmpfs", func(t *testing.T) {
		top := t.TempDir()
		mount(t, "tmpfs", top, "tmpfs", 0)
		treetest.Build(t, top, withoutUserXattrs(sample()))
		if got, want := digest(t, top), digest(t, treetest.New(t, withoutUserXattrs(sample())...)); got != want {
			t.Errorf("digest is %s, want %s", got, want)
		}
	})
}

// withoutUserXattrs leaves out what tmpfs cannot hold before Linux 6.6.
func withoutUserXattrs(items []item) []item {
	for i := range items {
		for name := range items[i].Xattrs {
			if strings.HasPrefix(name, "user.") {
				delete(items[i].Xattrs, name)
			}
		}
	}
	return items
}

func TestDigestLeavesOutWhatAStreamCannotSay(t *testing.T) {
	want := digest(t, treetest.New(t, sample()...))
	cases := map[string]func(top string, items []item) []item{
		"nanoseconds": func(_ string, items []item) []item {
			for i := range items {
				items[i].Nano = 999999999
			}
			return items
		},
		"socket": func(_ string, items []item) []item {
			return append(items, item{Path: "socket", Mode: treetest.Sock})
		},
		"order of creation": func(_ string, items []item) []item {
			slices.Reverse(items[3:])
			return items
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			if got := digest(t, treetest.New(t, change("", sample())...)); got != want {
				t.Errorf("digest is %s, want %s", got, want)
			}
		})
	}
	t.Run("metadata of the top", func(t *testing.T) {
		top := treetest.New(t, sample()...)
		must(t, os.Chmod(top, 0o711))
		must(t, os.Chown(top, 1, 1))
		must(t, unix.Lsetxattr(top, "user.top", []byte("x"), 0))
		if got := digest(t, top); got != want {
			t.Errorf("digest is %s, want %s", got, want)
		}
	})
	t.Run("hard links", func(t *testing.T) {
		linked := digest(t, treetest.New(t, item{Path: "a", Content: "x"}, item{Path: "b", Link: "a"}))
		apart := digest(t, treetest.New(t, item{Path: "a", Content: "x"}, item{Path: "b", Content: "x"}))
		if linked != apart {
			t.Errorf("digest is %s with hard links and %s without", linked, apart)
		}
	})
}

// TestSettingsOfAFilesystemDoNotCount: some filesystems show their own settings as
// attributes, which files inherit and which mean nothing elsewhere.
func TestSettingsOfAFilesystemDoNotCount(t *testing.T) {
	top := filepath.Join(loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs}).Mount(t), "top")
	mkdir(t, top)
	must(t, unix.Lsetxattr(top, "btrfs.compression", []byte("zstd"), 0))
	treetest.Build(t, top, sample())
	var there [64]byte
	if _, err := unix.Lgetxattr(filepath.Join(top, "dir/file"), "btrfs.compression", there[:]); err != nil {
		t.Fatalf("the setting was not inherited: %v", err)
	}
	if got, want := digest(t, top), digest(t, treetest.New(t, sample()...)); got != want {
		t.Errorf("digest is %s, want %s", got, want)
	}
}

func TestDigestCoversAllThatAStreamSays(t *testing.T) {
	cases := map[string]func(items []item){
		"path":               func(i []item) { i[1].Path = "dir/empty2" },
		"mode":               func(i []item) { i[2].Mode = treetest.File | 0o4000 },
		"uid":                func(i []item) { i[2].UID = 3 },
		"gid":                func(i []item) { i[2].GID = 3 },
		"mtime":              func(i []item) { i[2].Mtime = 7 },
		"directory's mtime":  func(i []item) { i[0].Mtime = 7 },
		"directory's mode":   func(i []item) { i[0].Mode = treetest.Dir | 0o1000 },
		"content":            func(i []item) { i[2].Content = "CONTENT" },
		"link target":        func(i []item) { i[4].Target = "dir/empty" },
		"link's uid":         func(i []item) { i[4].UID = 1 },
		"device":             func(i []item) { i[5].Rdev = unix.Mkdev(1, 5) },
		"type":               func(i []item) { i[5].Mode = treetest.Block },
		"attribute's value":  func(i []item) { i[2].Xattrs["user.x"] = "2" },
		"attribute's name":   func(i []item) { i[2].Xattrs = map[string]string{"user.z": "1", "user.y": ""} },
		"attribute moved":    func(i []item) { i[2].Xattrs = nil; i[1].Xattrs = map[string]string{"user.x": "1", "user.y": ""} },
		"directory's xattr":  func(i []item) { i[0].Xattrs = nil },
		"link's xattr":       func(i []item) { i[4].Xattrs = nil },
		"device's attribute": func(i []item) { i[5].Xattrs = nil },
	}
	unchanged := digest(t, treetest.New(t, sample()...))
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			items := sample()
			change(items)
			if digest(t, treetest.New(t, items...)) == unchanged {
				t.Error("the digest does not change")
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t testing.TB, path string) {
	t.Helper()
	must(t, os.Mkdir(path, 0o755))
}

// mount mounts for the length of the test.
func mount(t testing.TB, source, target, filesystem string, flags uintptr) {
	t.Helper()
	must(t, unix.Mount(source, target, filesystem, flags, ""))
	t.Cleanup(func() {
		if err := unix.Unmount(target, 0); err != nil {
			t.Error(err)
		}
	})
}
