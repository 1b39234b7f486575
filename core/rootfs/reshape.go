package rootfs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Promote makes a directory of the tree the whole of it: what is in the directory
// comes to the top, the top gets its owner, mode, attributes and times, and
// everything else is deleted. directory is a slash-separated path below the top.
//
// On a snapshot of a root filesystem this makes a subvolume of one directory
// without copying any content. An error leaves the tree half changed, to be thrown
// away.
func (t *Tree) Promote(ctx context.Context, directory string) error {
	if err := t.promote(ctx, directory); err != nil {
		return fmt.Errorf("cannot make %q the whole of tree %q: %w", directory, t.path, err)
	}
	return nil
}

func (t *Tree) promote(ctx context.Context, directory string) error {
	aside, err := t.setAside(directory)
	if err != nil {
		return err
	}
	if err := t.clear(ctx, t.top, aside); err != nil {
		return err
	}
	kept, err := openEntryOf(t.top, aside, unix.S_IFDIR)
	if err != nil {
		return err
	}
	defer kept.close()
	if err := t.raise(aside); err != nil {
		return err
	}
	if err := unix.Unlinkat(t.top, aside, unix.AT_REMOVEDIR); err != nil {
		return err
	}
	return copyMetadata(&entry{handle: t.top}, kept)
}

// setAside moves the directory to the top under a name that nothing there has.
func (t *Tree) setAside(directory string) (string, error) {
	parent, name, closeParent, err := t.openParentOf(directory)
	if err != nil {
		return "", err
	}
	defer closeParent()
	for i := 0; ; i++ {
		aside := ".tbupdate-aside-" + strconv.Itoa(i)
		err := unix.Renameat2(parent, name, t.top, aside, unix.RENAME_NOREPLACE)
		if err == nil {
			return aside, nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return "", explain(parent, name, err)
		}
	}
}

// raise moves everything in the directory to the top.
func (t *Tree) raise(name string) error {
	handle, err := openDirectory(t.top, name)
	if err != nil {
		return explain(t.top, name, err)
	}
	defer unix.Close(handle)
	names, err := listDirectory(handle)
	if err != nil {
		return err
	}
	for _, child := range names {
		if err := unix.Renameat2(handle, child, t.top, child, unix.RENAME_NOREPLACE); err != nil {
			return fmt.Errorf("cannot move %q: %w", child, err)
		}
	}
	return nil
}

// Clear deletes everything in a directory of the tree and keeps the directory.
func (t *Tree) Clear(ctx context.Context, directory string) error {
	parent, name, closeParent, err := t.openParentOf(directory)
	if err == nil {
		defer closeParent()
		var handle int
		if handle, err = openDirectory(parent, name); err == nil {
			defer unix.Close(handle)
			err = t.clear(ctx, handle, "")
		} else {
			err = explain(parent, name, err)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot empty %q in tree %q: %w", directory, t.path, err)
	}
	return nil
}

// Empty deletes everything in the tree.
func (t *Tree) Empty(ctx context.Context) error {
	if err := t.clear(ctx, t.top, ""); err != nil {
		return fmt.Errorf("cannot empty tree %q: %w", t.path, err)
	}
	return nil
}

// clear deletes everything in the open directory but keep.
func (t *Tree) clear(ctx context.Context, dir int, keep string) error {
	names, err := listDirectory(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == keep {
			continue
		}
		if err := remove(ctx, dir, name); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

// WriteFile replaces the content of a plain file of the tree, or makes one with the
// owner root and the mode 0644. The new content takes the place of the old one at
// once.
func (t *Tree) WriteFile(path string, content []byte) error {
	if err := t.writeFile(path, content); err != nil {
		return fmt.Errorf("cannot write %q in tree %q: %w", path, t.path, err)
	}
	return nil
}

func (t *Tree) writeFile(path string, content []byte) error {
	parent, name, closeParent, err := t.openParentOf(path)
	if err != nil {
		return err
	}
	defer closeParent()
	f, err := createReplacement(parent, name)
	if err != nil {
		return err
	}
	defer f.discard()
	if err := writeAll(f.handle, content); err != nil {
		return err
	}
	if err := unix.Fchmod(f.handle, 0o644); err != nil {
		return err
	}
	old, err := openEntryOf(parent, name, unix.S_IFREG)
	switch {
	case errors.Is(err, unix.ENOENT):
	case err != nil:
		return err
	default:
		defer old.close()
		if err := copyOwnership(&entry{handle: f.handle}, old); err != nil {
			return err
		}
	}
	return f.replace(name)
}

// copyMetadata gives to all that from has: owner, mode, attributes and times.
func copyMetadata(to, from *entry) error {
	if err := copyOwnership(to, from); err != nil {
		return err
	}
	times := []unix.Timespec{from.stat.Atim, from.stat.Mtim}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to.path(), times, 0)
}

// copyOwnership gives to the owner, mode and attributes of from.
func copyOwnership(to, from *entry) error {
	if err := unix.Chown(to.path(), int(from.stat.Uid), int(from.stat.Gid)); err != nil {
		return err
	}
	// After the owner, since chown(2) clears set-user-ID and set-group-ID.
	if err := to.setMode(uint32(from.stat.Mode)); err != nil {
		return err
	}
	return copyXattrs(to.path(), from.path())
}

// openParentOf opens the directory that holds the last component of path, following
// nothing on the way.
func (t *Tree) openParentOf(path string) (parent int, name string, closeParent func(), err error) {
	components := strings.Split(path, "/")
	parent, closeParent = t.top, func() {}
	for _, component := range components[:len(components)-1] {
		handle, err := openDirectory(parent, component)
		if err != nil {
			err = explain(parent, component, err)
			closeParent()
			return -1, "", nil, err
		}
		closeParent()
		parent, closeParent = handle, func() { unix.Close(handle) }
	}
	name = components[len(components)-1]
	if name == "" || name == "." || name == ".." {
		closeParent()
		return -1, "", nil, fmt.Errorf("%q is not the name of anything in the tree", path)
	}
	return parent, name, closeParent, nil
}

// listDirectory gives all names in an open directory.
func listDirectory(dir int) ([]string, error) {
	if _, err := unix.Seek(dir, 0, unix.SEEK_SET); err != nil {
		return nil, fmt.Errorf("cannot read it: %w", err)
	}
	buffer := make([]byte, direntBuffer)
	var names []string
	for {
		n, err := unix.Getdents(dir, buffer)
		if err != nil {
			return nil, fmt.Errorf("cannot read it: %w", err)
		}
		if n == 0 {
			return names, nil
		}
		names = append(names, direntNames(buffer[:n])...)
	}
}
