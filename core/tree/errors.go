package tree

import (
	"fmt"
	"path/filepath"
)

// BoundaryError says that the tree holds an entry that belongs to another
// filesystem, mount or subvolume.
type BoundaryError struct {
	Tree  string // path of the top, as it was given
	Path  string // relative to the top
	Mount bool   // a mount point; otherwise a directory with another device number
}

func (e *BoundaryError) Error() string {
	if e.Mount {
		return fmt.Sprintf("%q is a mount point: unmount it, or give a tree without mounts", filepath.Join(e.Tree, e.Path))
	}
	return fmt.Sprintf("%q is the top of another filesystem or of a nested subvolume, which cannot be part of this tree",
		filepath.Join(e.Tree, e.Path))
}

// ChangedError says that an entry changed while the tree was read, so that
// nothing certain can be said of it.
type ChangedError struct {
	Tree string // path of the top, as it was given
	Path string // relative to the top
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%q changed while it was read", filepath.Join(e.Tree, e.Path))
}
