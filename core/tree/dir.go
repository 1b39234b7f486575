package tree

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// directoryBuffer is the room for one getdents call. Larger ones bring nothing:
// the kernel fills 32 KiB with about a thousand names.
const directoryBuffer = 32 << 10

// Dir is an open directory of a tree. It counts its users: whoever keeps one
// calls retain, and everyone calls Close once. Its methods may be used from
// several goroutines at once.
type Dir struct {
	fd    int
	top   string // path of the tree's top as it was given, for messages
	entry Entry
	mount uint64 // id of the mount that the whole tree must be on; 0 if unknown
	users atomic.Int32
}

// Open opens the tree whose top is the directory path. A symbolic link in path
// is followed. The caller closes it.
func Open(path string) (*Dir, error) {
	fd, err := openDirectory(unix.AT_FDCWD, path, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the directory %q: %w", path, err)
	}
	d := &Dir{fd: fd, top: path}
	d.users.Store(1)
	st, err := statHandle(fd)
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("cannot read the metadata of %q: %w", path, err)
	}
	d.entry = entryOf(".", &st)
	d.mount = mountOf(&st)
	return d, nil
}

// Close gives the handle back. The last user's Close closes it.
func (d *Dir) Close() error {
	if d.users.Add(-1) > 0 {
		return nil
	}
	return unix.Close(d.fd)
}

func (d *Dir) retain() *Dir {
	d.users.Add(1)
	return d
}

// Entry gives the directory's own metadata, attributes not included.
func (d *Dir) Entry() Entry { return d.entry }

// Xattrs reads the directory's own attributes, sorted by name.
func (d *Dir) Xattrs() ([]Xattr, error) {
	attributes, err := handleXattrs(d.fd)
	if err != nil {
		return nil, d.failed("read the attributes of", d.entry.Path, err)
	}
	return attributes, nil
}

// names gives the names in the directory, sorted by bytes.
func (d *Dir) names(ctx context.Context) ([]string, error) {
	var names []string
	buffer := make([]byte, directoryBuffer)
	// The handle may have been read before; its offset is its own, since only
	// the walk that opened it lists it.
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := retry(func() (int, error) { return unix.ReadDirent(d.fd, buffer) })
		if err != nil {
			return nil, d.failed("list", d.entry.Path, err)
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent(buffer[:n], -1, names)
	}
	slices.Sort(names)
	return names, nil
}

// node reads the metadata of the entry name, without link target and attributes.
// It keeps d for as long as the node is in use.
func (d *Dir) node(name string) (*Node, error) {
	path := name
	if d.entry.Path != "." {
		path = d.entry.Path + "/" + name
	}
	var st unix.Statx_t
	_, err := retry(func() (int, error) {
		return 0, unix.Statx(d.fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, statMask, &st)
	})
	if err == unix.ENOENT {
		return nil, &ChangedError{Tree: d.top, Path: path} // it was there when the names were read
	}
	if err != nil {
		return nil, d.failed("read the metadata of", path, err)
	}
	n := &Node{Entry: entryOf(path, &st), parent: d}
	if mount := mountOf(&st); mount != d.mount && mount != 0 && d.mount != 0 {
		return nil, &BoundaryError{Tree: d.top, Path: path, Mount: true}
	}
	// Only directories are held to their parent's device number: where layers of
	// several filesystems are joined (overlayfs.rst, "Inode properties"), a file
	// has the number of the layer that it comes from.
	if n.Kind() == KindDirectory && n.Device != d.entry.Device {
		return nil, &BoundaryError{Tree: d.top, Path: path}
	}
	d.retain()
	return n, nil
}

// enter opens the directory n, which is in d.
func (d *Dir) enter(n *Node) (*Dir, error) {
	fd, err := openDirectory(d.fd, n.Name(), unix.O_NOFOLLOW)
	if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
		return nil, &ChangedError{Tree: d.top, Path: n.Path}
	}
	if err != nil {
		return nil, d.failed("open", n.Path, err)
	}
	child := &Dir{fd: fd, top: d.top, entry: n.Entry, mount: d.mount}
	child.users.Store(1)
	st, err := statHandle(fd)
	if err != nil {
		child.Close()
		return nil, d.failed("read the metadata of", n.Path, err)
	}
	if now := entryOf(n.Path, &st); now.Inode != n.Inode || now.Device != n.Device {
		child.Close()
		return nil, &ChangedError{Tree: d.top, Path: n.Path}
	}
	return child, nil
}

// failed makes the error for an operation on path, with the whole path.
func (d *Dir) failed(verb, path string, err error) error {
	return fmt.Errorf("cannot %s %q: %w", verb, filepath.Join(d.top, path), err)
}

const statMask = unix.STATX_BASIC_STATS | unix.STATX_MNT_ID

func statHandle(fd int) (unix.Statx_t, error) {
	var st unix.Statx_t
	_, err := retry(func() (int, error) {
		return 0, unix.Statx(fd, "", unix.AT_EMPTY_PATH, statMask, &st)
	})
	return st, err
}

// mountOf gives the id of the mount that the entry is on, 0 where the kernel does
// not tell it (before 5.8).
func mountOf(st *unix.Statx_t) uint64 {
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0
	}
	return st.Mnt_id
}

func entryOf(path string, st *unix.Statx_t) Entry {
	e := Entry{
		Path:     path,
		Mode:     uint32(st.Mode),
		UID:      st.Uid,
		GID:      st.Gid,
		Modified: Time{Seconds: st.Mtime.Sec, Nanoseconds: st.Mtime.Nsec},
		Changed:  Time{Seconds: st.Ctime.Sec, Nanoseconds: st.Ctime.Nsec},
		Links:    st.Nlink,
		Inode:    st.Ino,
		Device:   unix.Mkdev(st.Dev_major, st.Dev_minor),
	}
	switch {
	case e.Kind() == KindFile:
		e.Size = st.Size // a directory's differs between filesystems, a link's is in its target
	case e.IsDevice():
		e.Rdev = unix.Mkdev(st.Rdev_major, st.Rdev_minor)
	}
	return e
}

func openDirectory(at int, path string, flags int) (int, error) {
	return openQuietly(at, path, unix.O_RDONLY|unix.O_DIRECTORY|flags)
}

// openQuietly opens without leaving a trace in the access time where the caller
// may ask for that: the owner and CAP_FOWNER may (open(2), O_NOATIME).
func openQuietly(at int, path string, flags int) (int, error) {
	flags |= unix.O_CLOEXEC
	fd, err := retry(func() (int, error) { return unix.Openat(at, path, flags|unix.O_NOATIME, 0) })
	if err == unix.EPERM {
		fd, err = retry(func() (int, error) { return unix.Openat(at, path, flags, 0) })
	}
	return fd, err
}

// retry repeats a system call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// handlePath names the entry of an open directory by a path, for the calls that
// have no variant that is relative to a handle.
func handlePath(fd int, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)
}

// isProcMissing reports whether handle paths cannot work here at all.
func isProcMissing() bool {
	_, err := os.Stat("/proc/self/fd")
	return err != nil
}
