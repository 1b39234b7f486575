package tree

import (
	"golang.org/x/sys/unix"
)

// linkTargetMax is the most that a link target can have, and one more to see that
// it has not (PATH_MAX includes a NUL).
const linkTargetMax = 4096

// Node is an entry, together with the open directory that it is in. Walk makes
// nodes and ends them: the methods work until the visit of its step returns, the
// entry for ever.
type Node struct {
	Entry
	parent *Dir
}

// Load fills Target and Xattrs. For a plain file it opens the file; a caller that
// has it open anyway uses File.Load instead.
func (n *Node) Load() error {
	switch n.Kind() {
	case KindFile:
		f, err := n.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Load()
	case KindDirectory:
		return n.loadDirectory()
	case KindSymlink:
		if err := n.loadTarget(); err != nil {
			return err
		}
	}
	attributes, err := entryXattrs(n.parent.fd, n.Name())
	if err != nil {
		return n.failed("read the attributes of", err)
	}
	n.Xattrs = attributes
	return nil
}

func (n *Node) loadDirectory() error {
	d, err := n.parent.enter(n)
	if err != nil {
		return err
	}
	defer d.Close()
	n.Xattrs, err = d.Xattrs()
	return err
}

func (n *Node) loadTarget() error {
	var buffer [linkTargetMax]byte
	size, err := retry(func() (int, error) { return unix.Readlinkat(n.parent.fd, n.Name(), buffer[:]) })
	if err == unix.EINVAL || err == unix.ENOENT {
		return n.changed()
	}
	if err != nil {
		return n.failed("read the link", err)
	}
	n.Target = string(buffer[:size])
	return nil
}

// Open opens a plain file for reading. The caller closes it. The file is the one
// whose metadata the node has, or Open fails with a *ChangedError.
func (n *Node) Open() (*File, error) {
	// O_NONBLOCK: should a fifo have taken the file's place, open must not wait
	// for somebody to write into it.
	fd, err := openQuietly(n.parent.fd, n.Name(), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err == unix.ENOENT || err == unix.ELOOP || err == unix.ENXIO {
		return nil, n.changed()
	}
	if err != nil {
		return nil, n.failed("open", err)
	}
	return &File{fd: fd, node: n}, nil
}

func (n *Node) failed(verb string, err error) error { return n.parent.failed(verb, n.Path, err) }

func (n *Node) changed() error { return &ChangedError{Tree: n.parent.top, Path: n.Path} }

// release gives back the directory that the node is in.
func (n *Node) release() {
	if n != nil {
		n.parent.Close()
	}
}
