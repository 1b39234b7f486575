package rootfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// inMemory gives a directory where making thousands of entries is quick.
func inMemory(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// deepTree makes directories nested depth deep below root, with a file in each.
func deepTree(t testing.TB, root string, depth int) {
	t.Helper()
	dir, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	for range depth {
		must(t, unix.Mkdirat(dir, "d", 0o755))
		next, err := unix.Openat(dir, "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(dir))
		dir = next
		file, err := unix.Openat(dir, "f", unix.O_WRONLY|unix.O_CREAT, 0o644)
		must(t, err)
		must(t, unix.Close(file))
	}
	must(t, unix.Close(dir))
}

func openHandles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

// Depth costs no handles: neither to the way down and up again nor to a deletion.
func TestDeployDeep(t *testing.T) {
	const depth = 2000
	root := inMemory(t)
	deepTree(t, root, depth+3000)
	var steps []any
	for range depth {
		steps = append(steps, tbdiff.DirEnter{Name: "d"})
	}
	for range depth {
		steps = append(steps, tbdiff.EntityDelete{Name: "f"}, tbdiff.DirLeave{Mtime: 5})
	}
	steps = append(steps, tbdiff.EntityDelete{Name: "d"})
	before := openHandles(t)
	most := 0
	tree, err := rootfs.Open(root)
	must(t, err)
	_, err = tree.Deploy(context.Background(), tbdiff.NewReader(bytes.NewReader(stream(t, steps...))), rootfs.Options{
		Progress: func(s rootfs.Stats) {
			if s.Commands%100 == 0 {
				most = max(most, openHandles(t)-before)
			}
		},
	})
	must(t, err)
	must(t, tree.Close())
	if left := describe(t, root); len(left) > 0 {
		t.Errorf("%d entries were left", len(left))
	}
	if most > 100 {
		t.Errorf("%d handles were open at once, want at most 100", most)
	}
	if now := openHandles(t); now != before {
		t.Errorf("%d handles were left open", now-before)
	}
}

// A directory that is moved away while the stream is in it does not take the stream
// along.
func TestDeployNoticesMove(t *testing.T) {
	const depth = 100
	root, outside := t.TempDir(), t.TempDir()
	deepTree(t, root, depth)
	var steps []any
	for range depth {
		steps = append(steps, tbdiff.DirEnter{Name: "d"})
	}
	for range depth {
		steps = append(steps, tbdiff.DirLeave{Mtime: 5})
	}
	tree, err := rootfs.Open(root)
	must(t, err)
	defer tree.Close()
	_, err = tree.Deploy(context.Background(), tbdiff.NewReader(bytes.NewReader(stream(t, steps...))), rootfs.Options{
		Progress: func(s rootfs.Stats) {
			if s.Commands == depth {
				// So high up that its handle was given up.
				must(t, os.Rename(root+"/d/d/d", outside+"/d"))
			}
		},
	})
	if !errors.Is(err, rootfs.ErrOriginMismatch) || !strings.Contains(err.Error(), "moved") {
		t.Errorf("error is %v, want ErrOriginMismatch with the word moved", err)
	}
	if got := lstat(t, outside).Mtim.Sec; got == 5 {
		t.Error("the time of a directory outside was set")
	}
}

// A directory of many entries, read in several pieces, goes whole.
func TestDeleteLargeDirectory(t *testing.T) {
	root := inMemory(t)
	for i := range 3000 {
		must(t, os.MkdirAll(fmt.Sprintf("%s/d/some-longer-name-%d", root, i), 0o755))
		write(t, fmt.Sprintf("%s/d/some-longer-name-%d/file", root, i), "")
		write(t, fmt.Sprintf("%s/d/file-%d", root, i), "")
	}
	mustDeploy(t, root, tbdiff.EntityDelete{Name: "d"})
	if left := describe(t, root); len(left) > 0 {
		t.Errorf("%d entries were left", len(left))
	}
}
