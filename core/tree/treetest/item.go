// Package treetest makes directory trees for tests: given ones, and random ones
// that a seed determines. It needs root.
package treetest

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Item describes one entry of a tree.
type Item struct {
	Path     string
	Mode     uint32 // whole st_mode; 0 stands for a plain file with 0644
	UID, GID int
	Mtime    int64 // seconds since 1970
	Nano     int64 // nanoseconds after those
	Content  string
	Target   string // of a symbolic link
	Rdev     uint64
	Xattrs   map[string]string
	Link     string // path of an earlier plain file that this is a hard link of
}

// Dir, Link and so on are modes for items.
const (
	Dir   = unix.S_IFDIR | 0o755
	Lnk   = unix.S_IFLNK | 0o777
	FIFO  = unix.S_IFIFO | 0o644
	Char  = unix.S_IFCHR | 0o600
	Block = unix.S_IFBLK | 0o660
	Sock  = unix.S_IFSOCK | 0o755
	File  = unix.S_IFREG | 0o644
)

// New makes a tree of the items in a new directory of the test and gives its path.
// Directories must come before what is in them.
func New(t testing.TB, items ...Item) string {
	t.Helper()
	top := t.TempDir()
	Build(t, top, items)
	return top
}

// Build makes the items below the directory top.
func Build(t testing.TB, top string, items []Item) {
	t.Helper()
	for _, item := range items {
		create(t, top, item)
	}
	// Children first: each entry that is made moves its directory's time.
	for _, item := range slices.Backward(items) {
		if item.Link == "" {
			finish(t, filepath.Join(top, item.Path), item)
		}
	}
}

func create(t testing.TB, top string, item Item) {
	t.Helper()
	path := filepath.Join(top, item.Path)
	mode := item.mode()
	var err error
	switch {
	case item.Link != "":
		err = os.Link(filepath.Join(top, item.Link), path)
	case mode&unix.S_IFMT == unix.S_IFDIR:
		err = os.Mkdir(path, 0o700)
	case mode&unix.S_IFMT == unix.S_IFLNK:
		err = os.Symlink(item.Target, path)
	case mode&unix.S_IFMT == unix.S_IFREG:
		err = os.WriteFile(path, []byte(item.Content), 0o600)
	default:
		err = unix.Mknod(path, mode, int(item.Rdev))
	}
	if err != nil {
		t.Fatalf("cannot make %q (this needs root): %v", path, err)
	}
}

// finish sets the metadata, in an order in which none undoes another.
func finish(t testing.TB, path string, item Item) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("cannot set the metadata of %q: %v", path, err)
		}
	}
	check(os.Lchown(path, item.UID, item.GID))
	if item.mode()&unix.S_IFMT != unix.S_IFLNK {
		check(unix.Chmod(path, item.mode()&0o7777))
	}
	for name, value := range item.Xattrs {
		check(unix.Lsetxattr(path, name, []byte(value), 0))
	}
	when, err := unix.TimeToTimespec(time.Unix(item.Mtime, item.Nano))
	check(err)
	check(unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW))
}

func (i Item) mode() uint32 {
	if i.Mode == 0 {
		return File
	}
	return i.Mode
}
