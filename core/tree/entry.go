// Package tree reads directory trees: it walks one tree, or two side by side,
// compares them and digests them. It never changes what it reads.
//
// # What a walk promises
//
//   - Everything is reached through directory handles, one component at a time,
//     and no symbolic link is followed below the top. (The top itself may be given
//     through one.)
//   - Entries come in an order that depends on their names alone: sorted by bytes
//     within a directory, a directory before its content.
//   - A tree ends where its filesystem ends. A mount point below the top, and a
//     directory that has another device number than its parent (a nested
//     subvolume is one), is an *BoundaryError: silently leaving out what is below,
//     or taking it in, would both make a wrong copy.
//   - What is read is not disturbed: access times stay where the kernel lets the
//     caller ask for that (O_NOATIME).
//   - An entry that changes while it is read is a *ChangedError that names it.
//   - Memory is bounded by the names of the directories on the way from the top
//     to the entry at hand, not by the size of the tree or of a file.
//
// # Extended attributes
//
// Attributes of all kinds of entries are read, those of the namespaces user,
// trusted, security and system (xattr(7)). Any other namespace belongs to one
// filesystem's own settings, which mean nothing elsewhere, and is left out.
package tree

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Kind is the type of an entry.
type Kind uint32

// The kinds of entries, with the values of the type bits of st_mode (inode(7)).
const (
	KindFIFO      Kind = unix.S_IFIFO
	KindCharacter Kind = unix.S_IFCHR
	KindDirectory Kind = unix.S_IFDIR
	KindBlock     Kind = unix.S_IFBLK
	KindFile      Kind = unix.S_IFREG
	KindSymlink   Kind = unix.S_IFLNK
	KindSocket    Kind = unix.S_IFSOCK
)

// String gives the word for the kind that messages use.
func (k Kind) String() string {
	switch k {
	case KindFIFO:
		return "fifo"
	case KindCharacter:
		return "character device"
	case KindDirectory:
		return "directory"
	case KindBlock:
		return "block device"
	case KindFile:
		return "file"
	case KindSymlink:
		return "symbolic link"
	case KindSocket:
		return "socket"
	}
	return "entry of unknown type"
}

// Time is an instant as the filesystem keeps it: seconds since 1970, which are
// negative before, and 0 to 999999999 nanoseconds after those seconds.
type Time struct {
	Seconds     int64
	Nanoseconds uint32
}

// Xattr is one extended attribute.
type Xattr struct {
	Name  string // with its namespace: "user.comment"
	Value []byte
}

// Entry is what a tree holds under one path.
type Entry struct {
	// Path is relative to the top, slash-separated and in the bytes that the
	// filesystem has; it need not be UTF-8. The top itself is ".".
	Path string

	Mode     uint32 // the whole st_mode, type bits included
	UID, GID uint32
	Modified Time
	Changed  Time   // of the inode (st_ctime)
	Size     uint64 // of a plain file's content, in bytes; 0 for other kinds
	Rdev     uint64 // st_rdev of a device; 0 for other kinds
	Links    uint32 // number of names that the inode has
	Inode    uint64
	Device   uint64 // st_dev

	// Target is what a symbolic link points to. Filled by Node.Load.
	Target string
	// Xattrs are sorted by name. Filled by Node.Load and File.Load.
	Xattrs []Xattr
}

// Kind gives the type of the entry.
func (e *Entry) Kind() Kind { return Kind(e.Mode & unix.S_IFMT) }

// Name gives the last component of the path.
func (e *Entry) Name() string { return e.Path[strings.LastIndexByte(e.Path, '/')+1:] }

// IsDevice reports whether the entry is a character or block device.
func (e *Entry) IsDevice() bool {
	return e.Kind() == KindCharacter || e.Kind() == KindBlock
}

// SameInode reports whether both are names of one inode, in one state: all but
// their paths is then equal and need not be read.
func (e *Entry) SameInode(o *Entry) bool {
	return e.Device == o.Device && e.Inode == o.Inode && e.Changed == o.Changed && e.Size == o.Size
}

// Xattr gives the value of the attribute name, and whether there is one.
func (e *Entry) Xattr(name string) ([]byte, bool) {
	for _, x := range e.Xattrs {
		if x.Name == name {
			return x.Value, true
		}
	}
	return nil, false
}

// DeviceNumbers gives the major and minor number of a device.
func (e *Entry) DeviceNumbers() (major, minor uint32) { return unix.Major(e.Rdev), unix.Minor(e.Rdev) }
