package tree

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sort"
	"strings"
)

// Revise gives the index of a later state of the tree, whose top is the directory path,
// from what changed since: all paths at which an entry, its content or its metadata
// differs, in any order; such a path may come twice, and one that did not change may be
// among them. Only these are read, so that it takes time in proportion to them. Both
// states must have the same inode numbers, as snapshots of one history have, or names
// that are hard links of each other are not told.
//
// Errors are those of Walk.
func (x *Index) Revise(ctx context.Context, path string, changed []string) (*Index, error) {
	changed = slices.DeleteFunc(slices.Clone(changed), func(path string) bool { return path == "." }) // which is read anyhow
	slices.SortFunc(changed, ComparePaths)
	changed = slices.Compact(changed)
	dir, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	revised := &Index{Top: dir.Entry(), Entries: make([]Indexed, 0, len(x.Entries)+len(changed))}
	if revised.Top.Xattrs, err = dir.Xattrs(); err != nil {
		return nil, err
	}
	old := x.Entries
	// keep takes the old entries before a path, and drops the one at it.
	keep := func(before string) {
		n, found := sort.Find(len(old), func(i int) int { return ComparePaths(before, old[i].Path) })
		revised.keep(old[:n])
		if found {
			n++
		}
		old = old[n:]
	}
	next := 0 // of the changed paths
	err = inOrder(ctx, Visitor[[sha256.Size]byte]{
		Prepare: hashContent,
		Visit: func(s *Step[[sha256.Size]byte]) error {
			for ; changed[next] != s.Target.Path; next++ {
				keep(changed[next]) // it is gone
			}
			keep(changed[next])
			next++
			revised.Entries = append(revised.Entries, Indexed{Entry: s.Target.Entry, Content: s.Result})
			return nil
		},
	}, func(ctx context.Context, put func(*Step[[sha256.Size]byte]) error) error {
		return walkPaths(dir, changed, 0, put)
	})
	if err != nil {
		return nil, err
	}
	for ; next < len(changed); next++ {
		keep(changed[next])
	}
	revised.keep(old)
	revised.groupLinks()
	return revised, nil
}

// keep adds entries that are known from before.
func (x *Index) keep(entries []Indexed) {
	kept := len(x.Entries)
	x.Entries = append(x.Entries, entries...)
	for i := kept; i < len(x.Entries); i++ {
		x.Entries[i].Device, x.Entries[i].Changed = 0, Time{}
	}
}

// walkPaths puts the steps of those paths below dir that are there. The paths are in order
// and have the directory's own, of so many bytes, in common.
func walkPaths[R any](dir *Dir, paths []string, skip int, put func(*Step[R]) error) error {
	for len(paths) > 0 {
		name, _, _ := strings.Cut(paths[0][skip:], "/")
		whole := paths[0][:skip+len(name)]
		n := 1
		for n < len(paths) && strings.HasPrefix(paths[n], whole+"/") {
			n++
		}
		if err := walkPath(dir, name, paths[:n], skip, put); err != nil {
			return err
		}
		paths = paths[n:]
	}
	return nil
}

// walkPath does that for the paths that are, or begin with, one entry of dir.
func walkPath[R any](dir *Dir, name string, paths []string, skip int, put func(*Step[R]) error) error {
	node, err := dir.node(name)
	if changed := (*ChangedError)(nil); errors.As(err, &changed) {
		return nil // nor is anything below
	}
	if err != nil {
		return err
	}
	below := paths
	if len(paths[0]) == skip+len(name) {
		below = paths[1:]
	}
	var child *Dir
	if node.Kind() == KindDirectory && len(below) > 0 {
		if child, err = dir.enter(node); err != nil {
			node.release()
			return err
		}
		defer child.Close()
	}
	if len(below) == len(paths) {
		node.release()
	} else if err := put(&Step[R]{Move: MoveEntry, Target: node}); err != nil {
		return err
	}
	if child == nil {
		return nil
	}
	return walkPaths(child, below, skip+len(name)+1, put)
}

// groupLinks finds the first path of every inode anew. How many names an inode has may be
// out of date in an entry that was not read again; a name that is new or has more tells.
func (x *Index) groupLinks() {
	shared := map[uint64]string{}
	for i := range x.Entries {
		if e := &x.Entries[i]; e.Links > 1 && e.Kind() != KindDirectory {
			shared[e.Inode] = ""
		}
	}
	for i := range x.Entries {
		e := &x.Entries[i]
		e.First = ""
		if first, ok := shared[e.Inode]; ok && e.Kind() != KindDirectory {
			if e.First = first; first == "" {
				shared[e.Inode] = e.Path
			}
		}
	}
}

// ComparePaths orders paths as a walk does: by the bytes of their components, "." first.
func ComparePaths(a, b string) int {
	if a == "." || b == "." {
		return strings.Compare(strings.TrimPrefix(a, "."), strings.TrimPrefix(b, "."))
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			switch {
			case a[i] == '/':
				return -1
			case b[i] == '/':
				return 1
			}
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}
