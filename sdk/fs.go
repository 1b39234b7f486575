package sdk

import (
	"context"
	"time"
)

// FS is the filesystem contract, version 1.
//
// # Words
//
// The volume is the btrfs filesystem, or the ZFS pool and parent dataset, that
// holds the system. A subvolume is one separately snapshotted tree of it (a btrfs
// subvolume, a ZFS dataset).
//
// A Name is what the updater calls a subvolume: a slash-separated path relative
// to the volume, such as "snapshots/current". Names move from one subvolume to
// another. An Identity is what the plugin calls it: it belongs to one subvolume
// from its creation to its deletion, never changes and is never used again. The
// updater records identities, and boot entries pin them, so that it does not
// matter which name they have when the machine starts.
//
// A filesystem that renames freely keeps a name as a path (btrfs; the identity is
// the subvolume id). One that cannot rename a mounted root, or exchange two
// names at once, keeps the name as a property of a subvolume whose own name, the
// identity, stays (ZFS).
//
// # The verbs
//
// They address a subvolume by identity, and a name only where it is given or
// looked up, so that each can be repeated after a crash. A full rotation reads:
//
//	new   = Snapshot(current, "snapshots/new", writable)
//	        ... the updater writes into new.Path ...
//	        Seal(new); Rename(new, "snapshots/<id>")
//	root  = Snapshot(new, "snapshots/<id>.root", writable)
//	        Exchange("snapshots/root", root)
//	        SetDefault(root)
//
// The plugin mounts what it needs by itself, privately, below Setup.RunDirectory:
// it must work when only the root is mounted, and when nothing is.
type FS interface {
	Plugin

	// Volume says what the plugin works on and how much room it has.
	Volume(ctx context.Context) (Volume, error)

	// Prepare makes the places that the updater needs: the "snapshots" level and
	// the state directory. Existing ones are kept. Nothing else is touched.
	Prepare(ctx context.Context) error

	// List gives all subvolumes of the volume that have a name, sorted by name,
	// whether the updater made them or not.
	List(ctx context.Context) ([]Subvolume, error)

	// Lookup gives the subvolume that has this name now. "." is the volume's
	// own top-level tree, where it has one.
	//
	// Errors: ErrNotFound; ErrInvalid for a name that leaves the volume;
	// ErrUnsupported when something that is not a subvolume has the name.
	Lookup(ctx context.Context, name string) (Subvolume, error)

	// Get gives the subvolume with this identity, whatever its name.
	//
	// Errors: ErrNotFound.
	Get(ctx context.Context, id Identity) (Subvolume, error)

	// Snapshot makes a subvolume with the content of from, under the name to,
	// writable or read-only, without copying data. Snapshots do not hold the
	// subvolumes nested in from.
	//
	// Repeated: where to is already a snapshot of from with the same writability
	// it is returned as it is, whatever was written into it since; a caller that
	// wants a fresh one deletes it first.
	//
	// Errors: ErrNotFound (from), ErrExists (to has another origin or is not a
	// subvolume), ErrNoSpace.
	Snapshot(ctx context.Context, from Identity, to string, readOnly bool) (Subvolume, error)

	// Rename gives the subvolume the name to. It works while the subvolume is
	// mounted, also as "/". Repeated: nothing to do.
	//
	// Errors: ErrNotFound, ErrExists (another subvolume has the name).
	Rename(ctx context.Context, id Identity, to string) error

	// Exchange makes name the name of the subvolume id; the subvolume that had
	// name gets the former name of id. It works while either is mounted, also as
	// "/". Repeated: nothing to do, since name already is id's.
	//
	// With CapabilityExchange there is no instant at which name is nobody's.
	//
	// Errors: ErrNotFound (id, or nobody has name).
	Exchange(ctx context.Context, name string, id Identity) error

	// Delete removes the subvolume. Repeated: an identity that is gone is no
	// error. The room may come back later.
	//
	// Errors: ErrBusy (it is the default, or mounted as "/" of the running
	// system, or holds nested subvolumes, which are named: they may be somebody's
	// data).
	Delete(ctx context.Context, id Identity) error

	// Seal makes the subvolume read-only, after flushing all that was written to
	// it. Nothing makes it writable again.
	Seal(ctx context.Context, id Identity) error

	// Flush makes everything that was written to the volume durable.
	Flush(ctx context.Context) error

	// Default gives the subvolume that is mounted as root where the kernel
	// command line does not say which (btrfs default subvolume, ZFS bootfs).
	Default(ctx context.Context) (Subvolume, error)

	// SetDefault makes it this one.
	//
	// Errors: ErrNotFound.
	SetDefault(ctx context.Context, id Identity) error

	// KernelArguments gives the arguments that make the kernel and its initrd
	// mount exactly this subvolume as root, whatever the default and the names
	// are at that time: for btrfs "root=UUID=…", "rootfstype=btrfs" and
	// "rootflags=subvolid=N".
	//
	// They replace all that a command line says about the root: "root",
	// "rootfstype" and "rootflags". So what Setup.CommandLine says about mounting a
	// root of this volume, other than which one, is kept in them: with
	// "rootflags=compress=zstd,subvol=a" there, it is
	// "rootflags=compress=zstd,subvolid=N".
	KernelArguments(ctx context.Context, id Identity) ([]string, error)

	// Booted gives the subvolume that a kernel with this command line mounts as
	// root: the inverse of KernelArguments, and for a command line that does not
	// pin one, what the kernel would choose (by name, or the default).
	//
	// Errors: ErrNotFound when what it pins is gone or is on another volume.
	Booted(ctx context.Context, commandLine string) (Subvolume, error)

	// MountLine gives the line of an fstab(5) that mounts this subvolume, writable,
	// on a directory of a running system, whatever its name is by then. directory
	// is an absolute path without blanks.
	//
	// Errors: ErrNotFound, ErrInvalid.
	MountLine(ctx context.Context, id Identity, directory string) (string, error)

	// StateDirectory gives the path of a writable directory on the volume, outside
	// every subvolume that is snapshotted, where the updater keeps its journal. It
	// exists after Prepare.
	//
	// Errors: ErrNotFound before Prepare.
	StateDirectory(ctx context.Context) (string, error)

	// Changes calls emit for every path whose content or metadata differs between
	// the read-only subvolumes a and b, in no particular order; a path may come
	// more than once, and one that did not change may come too. It needs
	// CapabilityChanges. Paths are relative and slash-separated. emit calls no
	// method of the plugin: that would wait for Changes to end.
	//
	// Errors: ErrUnsupported without the capability or when a and b have no
	// common history, and emit's own.
	Changes(ctx context.Context, a, b Identity, emit func(Change) error) error
}

// Identity names one subvolume for ever. Its form is the plugin's affair: btrfs
// gives the subvolume id in decimal, ZFS the dataset's own name.
type Identity string

// Volume is what an FS plugin works on.
type Volume struct {
	Kind   string // "btrfs", "zfs"
	ID     string // filesystem UUID or pool GUID
	Device string // device or pool, for people

	// TotalBytes and FreeBytes count room for file data. FreeBytes is what can
	// be written before the first ENOSPC, as the filesystem estimates it
	// cautiously.
	TotalBytes uint64
	FreeBytes  uint64
	// MetadataFreeBytes is the room for metadata where the filesystem keeps that
	// apart; otherwise the same as FreeBytes.
	MetadataFreeBytes uint64
}

// Subvolume is one separately snapshotted tree.
type Subvolume struct {
	Name     string // "" when it has none at present
	Identity Identity
	// Origin is the identity of the subvolume that this one is a snapshot of, ""
	// for none or one that is gone.
	Origin   Identity
	ReadOnly bool
	Created  time.Time
	// Revision tells a changed tree without reading it: a change gives the subvolume
	// one that none of the volume's had at any earlier time, and a snapshot begins with
	// its origin's. So what has the revision that was read from it once, or from its
	// origin, holds what that held then. It is exact for what is read-only; of what is
	// writable, changes that were not flushed may not show yet. "" where the
	// filesystem cannot tell.
	Revision string
	// Path is where the updater finds its content in this machine's file tree
	// until Close. Lookup, Get and Snapshot always fill it; List may leave it "".
	Path string
}

// ChangeKind says what happened to a path between two snapshots.
type ChangeKind string

// Kinds of change.
const (
	ChangeAdded    ChangeKind = "added"
	ChangeModified ChangeKind = "modified" // content or metadata
	ChangeRemoved  ChangeKind = "removed"
)

// Change is one path that differs.
type Change struct {
	Kind ChangeKind
	Path string
}
