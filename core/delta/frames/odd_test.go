package frames_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/core/tree/treetest"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

type item = treetest.Item

// oddPair is a pair of trees of everything that is easily lost. Where it says what
// becomes of an entry, the first of a pair is the origin's.
func oddPair() (before, after []item) {
	long := strings.Repeat("n", 255)
	big := strings.Repeat("content that is long enough to be worth a copy; ", 400)
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // VFS_CAP_REVISION_2, cap_net_bind_service
	acl := func(user string) string {
		return "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x06\x00" + user + "\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"
	}
	x := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	before = []item{
		{Path: "links", Mode: treetest.Dir},
		{Path: "links/made-a", Content: big},
		{Path: "links/made-b", Content: big},
		{Path: "links/broken-a", Content: "x" + big},
		{Path: "links/broken-b", Link: "links/broken-a"},
		{Path: "links/broken-c", Link: "links/broken-a"},
		{Path: "links/moved-a", Content: "y" + big},
		{Path: "links/moved-b", Link: "links/moved-a"},
		{Path: "links/changed-a", Content: "one"},
		{Path: "links/changed-b", Link: "links/changed-a"},
		{Path: "links/grown-a", Content: "z" + big},
		{Path: "links/swap-a", Content: "p" + big},
		{Path: "links/swap-b", Content: "q" + big},
		{Path: "links/cross-1", Content: "1" + big},
		{Path: "links/cross-2", Link: "links/cross-1"},
		{Path: "links/cross-3", Content: "1" + big},
		{Path: "links/cross-4", Link: "links/cross-3"},
		{Path: long, Mode: treetest.Dir},
		{Path: long + "/" + long, Content: "a"},
		{Path: "\xff\xfe\\", Content: "not UTF-8"},
		{Path: "nano", Content: "n", Mtime: 1, Nano: 1},
		{Path: "capability-gained", Content: "c", Mode: treetest.File | 0o111},
		{Path: "capability-lost", Content: "c", Xattrs: x("security.capability", capability)},
		{Path: "capability-kept", Content: "c", UID: 1, Xattrs: x("security.capability", capability)},
		{Path: "setuid", Content: "s", Mode: unix.S_IFREG | 0o6755, UID: 1},
		{Path: "acl", Content: "a", Mode: unix.S_IFREG | 0o664, Xattrs: x("system.posix_acl_access", acl("\xe8\x03\x00\x00"))},
		{Path: "acl-lost", Content: "a", Mode: unix.S_IFREG | 0o664, Xattrs: x("system.posix_acl_access", acl("\xe8\x03\x00\x00"))},
		{Path: "default", Mode: unix.S_IFDIR | 0o775, Xattrs: x("system.posix_acl_default", acl("\xe8\x03\x00\x00"))},
		{Path: "default/old", Content: "o"},
		{Path: "dir-with", Mode: treetest.Dir, Xattrs: x("user.d", "1", "trusted.gone", "2")},
		{Path: "symlink", Mode: treetest.Lnk, Target: "a", Xattrs: x("trusted.s", "1")},
		{Path: "char", Mode: treetest.Char, Rdev: unix.Mkdev(4095, 1048575), Xattrs: x("trusted.c", "1")},
		{Path: "fifo", Mode: treetest.FIFO, Xattrs: x("trusted.f", "1")},
		{Path: "was-file", Content: "f"},
		{Path: "was-dir", Mode: treetest.Dir},
		{Path: "was-dir/inside", Content: "was" + big},
		{Path: "was-link", Mode: treetest.Lnk, Target: "was-dir"},
		{Path: "lib-1.2.3", Mode: treetest.Dir},
		{Path: "lib-1.2.3/libx.so.1.2", Content: "lib" + big},
		{Path: "rotate.0", Content: "r0" + big},
		{Path: "rotate.1", Content: "r1" + big},
		{Path: "socket", Mode: treetest.Sock},
	}
	after = []item{
		{Path: "links", Mode: treetest.Dir},
		{Path: "links/made-a", Content: big},
		{Path: "links/made-b", Link: "links/made-a"},
		{Path: "links/broken-a", Content: "x" + big},
		{Path: "links/broken-b", Content: "x" + big},
		{Path: "links/broken-c", Link: "links/broken-b"},
		{Path: "links/0-moved", Content: "y" + big},
		{Path: "links/moved-b", Link: "links/0-moved"},
		{Path: "links/changed-a", Content: "two"},
		{Path: "links/changed-b", Link: "links/changed-a"},
		{Path: "links/grown-0", Content: "z" + big},
		{Path: "links/grown-a", Link: "links/grown-0"},
		{Path: "links/swap-a", Content: "q" + big},
		{Path: "links/swap-b", Content: "p" + big},
		{Path: "links/cross-1", Content: "1" + big},
		{Path: "links/cross-3", Link: "links/cross-1"},
		{Path: "links/cross-2", Content: "1" + big},
		{Path: "links/cross-4", Link: "links/cross-2"},
		{Path: "links/symlink", Mode: treetest.Lnk, Target: "x"},
		{Path: "links/symlink-too", Link: "links/symlink"},
		{Path: long, Mode: treetest.Dir},
		{Path: long + "/" + long, Content: "b"},
		{Path: "\xff\xfe\\", Content: "not UTF-8 either"},
		{Path: "nano", Content: "n", Mtime: 1, Nano: 2},
		{Path: "capability-gained", Content: "c", Mode: treetest.File | 0o111, Xattrs: x("security.capability", capability)},
		{Path: "capability-lost", Content: "c"},
		{Path: "capability-kept", Content: "c", UID: 2, Xattrs: x("security.capability", capability)},
		{Path: "setuid", Content: "s", Mode: unix.S_IFREG | 0o6755, UID: 2},
		{Path: "acl", Content: "a", Mode: unix.S_IFREG | 0o664, Xattrs: x("system.posix_acl_access", acl("\xe9\x03\x00\x00"))},
		{Path: "acl-lost", Content: "a", Mode: unix.S_IFREG | 0o640},
		{Path: "default", Mode: unix.S_IFDIR | 0o775, Xattrs: x("system.posix_acl_default", acl("\xe9\x03\x00\x00"))},
		{Path: "default/new", Content: "n"},
		{Path: "default/dir", Mode: treetest.Dir},
		{Path: "default/dir/deep", Mode: treetest.FIFO},
		{Path: "default/symlink", Mode: treetest.Lnk, Target: "new"},
		{Path: "dir-with", Mode: treetest.Dir, Xattrs: x("user.d", "changed")},
		{Path: "symlink", Mode: treetest.Lnk, Target: "a", Xattrs: x("trusted.s", "2", "security.t", "3")},
		{Path: "char", Mode: treetest.Char, Rdev: unix.Mkdev(4095, 1048575), Xattrs: x("trusted.c", "2")},
		{Path: "block", Mode: treetest.Block, Rdev: unix.Mkdev(259, 70000)},
		{Path: "fifo", Mode: treetest.FIFO},
		{Path: "was-file", Mode: treetest.Dir},
		{Path: "was-file/inside", Content: "was" + big},
		{Path: "was-dir", Content: "f"},
		{Path: "was-link", Mode: treetest.Dir},
		{Path: "was-link/0", Content: "0"},
		{Path: "lib-1.2.4", Mode: treetest.Dir},
		{Path: "lib-1.2.4/libx.so.1.3", Content: "lib" + big + "."},
		{Path: "rotate.0", Content: "new"},
		{Path: "rotate.1", Content: "r0" + big},
		{Path: "rotate.2", Content: "r1" + big},
	}
	return before, after
}

// sparse makes a file of size bytes that is nearly all holes, with data at a place.
func sparse(t testing.TB, path string, size, at int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, offset := range []int64{0, at, size - 8192} {
		if _, err := f.WriteAt([]byte("data"), offset); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

func TestOddTrees(t *testing.T) {
	before, after := oddPair()
	for name, top := range map[string]func(t *testing.T) string{
		"tmpfs": tmpfs,
		"ext4": func(t *testing.T) string {
			return loopback.New(t, loopback.Options{Filesystem: loopback.Ext4}).Mount(t)
		},
		"btrfs": func(t *testing.T) string {
			return loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs}).Mount(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			top := top(t)
			origin, target, made := filepath.Join(top, "origin"), filepath.Join(top, "target"), filepath.Join(top, "made")
			for _, directory := range []string{origin, target, made} {
				if err := os.Mkdir(directory, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(target, 0o700); err != nil { // the top has metadata, too
				t.Fatal(err)
			}
			treetest.Build(t, origin, before)
			treetest.Build(t, target, after)
			size := int64(40 << 20)
			if name == "btrfs" {
				size = 4<<30 + 4096*3 // once is enough: all of its zeros are hashed
			}
			sparse(t, filepath.Join(origin, "sparse"), size, 4<<20)
			sparse(t, filepath.Join(target, "sparse"), size, 24<<20)

			stream, _ := create(t, "", target)
			deploy(t, stream, made)
			wantSame(t, made, target)
			wantSparse(t, filepath.Join(made, "sparse"))

			stream, stats := create(t, origin, target)
			deploy(t, stream, origin)
			wantSame(t, origin, target)
			wantSparse(t, filepath.Join(origin, "sparse"))
			// What moved, or got another number in its name, is not sent again.
			if limit := uint64(20 << 10); uint64(len(stream)) > limit {
				t.Errorf("the stream has %d bytes, more than %d: %+v", len(stream), limit, stats.Header.Totals)
			}
		})
	}
}

// tmpfs gives a directory on a memory filesystem.
func tmpfs(t *testing.T) string {
	t.Helper()
	top := t.TempDir()
	if err := unix.Mount("tmpfs", top, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(top, 0); err != nil {
			t.Error(err)
		}
	})
	return top
}

// wantSparse makes sure that holes stayed holes.
func wantSparse(t testing.TB, path string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if used := st.Blocks * 512; used > 1<<20 {
		t.Errorf("%s takes %d bytes of the disk", path, used)
	}
}

// TestSockets are left out, and nothing else is left in their place.
func TestSockets(t *testing.T) {
	origin := treetest.New(t, item{Path: "goes", Mode: treetest.Sock}, item{Path: "stays", Mode: treetest.Sock},
		item{Path: "was-dir", Mode: treetest.Dir}, item{Path: "was-dir/file"}, item{Path: "was-file"}, item{Path: "was-socket", Mode: treetest.Sock})
	target := treetest.New(t, item{Path: "new", Mode: treetest.Sock}, item{Path: "stays", Mode: treetest.Sock},
		item{Path: "was-dir", Mode: treetest.Sock}, item{Path: "was-file", Mode: treetest.Sock}, item{Path: "was-socket", Mode: treetest.Dir})
	stream, stats := create(t, origin, target)
	if diff := cmp.Diff([]string{"new", "stays", "was-dir", "was-file"}, stats.Sockets); diff != "" {
		t.Errorf("sockets that were left out: %s", diff)
	}
	deploy(t, stream, origin)
	found, err := tree.Compare(t.Context(), origin, target, tree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		t.Error(d)
	}
}
