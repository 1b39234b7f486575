package sendstream

import (
	"iter"
	"slices"
	"strings"
)

// Tree follows the names of a tree through a stream. The kernel moves what is in
// its way to temporary names ("o257-7-0"), makes new files under such names, and
// renames directories whose entries it goes on to change; so a path of a command
// is worth nothing until the whole stream was seen.
//
// Only names that the stream mentions are kept.
type Tree struct {
	root *node
	// changed holds each node that a command was about, once.
	changed []*node
}

// node is one file or directory, from its first mention on.
type node struct {
	parent *node // nil for the root, and for what was removed
	name   string
	// origin is its path in the old tree, "" where created.
	origin  string
	created bool
	changed bool
	// entries holds those that were mentioned. A nil node under a name means that
	// nothing has it any more.
	entries map[string]*node
}

// top is the path by which Changed calls the tree's top.
const top = "."

// NewTree starts with the old tree.
func NewTree() *Tree {
	return &Tree{root: &node{origin: top, entries: map[string]*node{}}}
}

// Apply follows one command.
//
// Errors: ErrMalformed for a path that is not one or that nothing can have.
func (t *Tree) Apply(c Command) error {
	switch c.Kind {
	case Subvol, Snapshot, End:
		return nil // about the tree as a whole
	case MakeFile, MakeDirectory, MakeNode, MakeFIFO, MakeSocket, Symlink:
		return t.place(c.Path, newNode())
	case Link:
		// The target changes as well: its count of links.
		if err := t.touch(c.To); err != nil {
			return err
		}
		return t.place(c.Path, newNode())
	case Rename:
		moved, err := t.take(c.Path)
		if err != nil {
			return err
		}
		return t.place(c.To, moved)
	case Unlink, RemoveDirectory:
		_, err := t.take(c.Path)
		return err
	default:
		return t.touch(c.Path)
	}
}

func newNode() *node {
	return &node{created: true, entries: map[string]*node{}}
}

// Changed is a file or directory that a command was about.
type Changed struct {
	Old string // its path in the old tree, "" for none
	New string // its path in the new tree, "" for none
}

// Changed gives everything that the stream changed, made, moved or removed, in
// the order of its first mention. What is below a moved directory moved with it,
// and is given only where a command was about it. The top is ".".
func (t *Tree) Changed() iter.Seq[Changed] {
	return func(yield func(Changed) bool) {
		for _, n := range t.changed {
			if !yield(Changed{Old: n.origin, New: t.path(n)}) {
				return
			}
		}
	}
}

// path gives the node's present path, "" when it was removed.
func (t *Tree) path(n *node) string {
	if n == t.root {
		return top
	}
	var names []string
	for ; n != t.root; n = n.parent {
		if n == nil {
			return ""
		}
		names = append(names, n.name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

func (t *Tree) mark(n *node) {
	if !n.changed {
		n.changed = true
		t.changed = append(t.changed, n)
	}
}

// touch marks what has this path.
func (t *Tree) touch(path string) error {
	n := t.root
	if path != "" {
		parent, name, err := t.split(path)
		if err != nil {
			return err
		}
		if n, err = parent.entry(name); err != nil {
			return err
		}
	}
	t.mark(n)
	return nil
}

// take removes what has this path from its directory.
func (t *Tree) take(path string) (*node, error) {
	parent, name, err := t.split(path)
	if err != nil {
		return nil, err
	}
	n, err := parent.entry(name)
	if err != nil {
		return nil, err
	}
	t.mark(n)
	parent.entries[name] = nil
	n.parent = nil
	return n, nil
}

// place gives the node this path. What had it is gone then, as with rename(2).
func (t *Tree) place(path string, n *node) error {
	parent, name, err := t.split(path)
	if err != nil {
		return err
	}
	for p := parent; p != nil; p = p.parent {
		if p == n {
			return malformed("%q would go into itself", path)
		}
	}
	if replaced := parent.entries[name]; replaced != nil {
		t.mark(replaced)
		replaced.parent = nil
	}
	parent.entries[name] = n
	n.parent, n.name = parent, name
	t.mark(n)
	return nil
}

// split finds the directory of a path.
func (t *Tree) split(path string) (parent *node, name string, err error) {
	names := strings.Split(path, "/")
	for _, name := range names {
		if name == "" || name == "." || name == ".." {
			return nil, "", malformed("%q is not a path", path)
		}
	}
	last := len(names) - 1
	parent = t.root
	for _, name := range names[:last] {
		if parent, err = parent.entry(name); err != nil {
			return nil, "", err
		}
	}
	return parent, names[last], nil
}

// entry gives what a directory has under a name: what the stream put there, or
// else what the old tree had.
func (n *node) entry(name string) (*node, error) {
	found, mentioned := n.entries[name]
	switch {
	case found != nil:
		return found, nil
	case mentioned, n.created:
		return nil, malformed("nothing is called %q where it is mentioned", name)
	}
	origin := name
	if n.origin != top {
		origin = n.origin + "/" + name
	}
	found = &node{parent: n, name: name, origin: origin, entries: map[string]*node{}}
	n.entries[name] = found
	return found, nil
}
