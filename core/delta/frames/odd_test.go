package frames_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/core/tree/treetest"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

type item = treetest.Item

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
	before, after := treetest.Odd()
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

// TestSockets are left out, and nothing else is left in their place; whether the machine has those
// of the origin is the same to a stream.
func TestSockets(t *testing.T) {
	origin := treetest.New(t, item{Path: "goes", Mode: treetest.Sock}, item{Path: "stays", Mode: treetest.Sock},
		item{Path: "was-dir", Mode: treetest.Dir}, item{Path: "was-dir/file"}, item{Path: "was-file"}, item{Path: "was-socket", Mode: treetest.Sock})
	target := treetest.New(t, item{Path: "new", Mode: treetest.Sock}, item{Path: "stays", Mode: treetest.Sock},
		item{Path: "was-dir", Mode: treetest.Sock}, item{Path: "was-file", Mode: treetest.Sock}, item{Path: "was-socket", Mode: treetest.Dir})
	stream, stats := create(t, origin, target)
	if diff := cmp.Diff([]string{"new", "stays", "was-dir", "was-file"}, stats.Sockets); diff != "" {
		t.Errorf("sockets that were left out: %s", diff)
	}
	without := treetest.New(t, item{Path: "was-dir", Mode: treetest.Dir}, item{Path: "was-dir/file"}, item{Path: "was-file"})
	for _, machine := range []string{origin, without} {
		deploy(t, stream, machine)
		found, err := tree.Compare(t.Context(), machine, target, tree.Options{Exact: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range found {
			t.Error(d)
		}
	}
}
