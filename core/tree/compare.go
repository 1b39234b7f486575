package tree

import (
	"context"
	"fmt"
)

// Options say how closely Compare looks.
type Options struct {
	// Exact compares also what tbdiff version 0 cannot express: nanoseconds, which
	// names are hard links of each other, and the metadata of the tops.
	Exact bool
}

// Compare lists the differences of the trees whose tops are the directories a and
// b, sorted by path. Where only one of them has a directory, what is below is not
// listed. Sockets are left out: they live and die with the program that listens. Trees without
// a difference have the same Digest.
//
// Errors are those of Walk.
func Compare(ctx context.Context, a, b string, o Options) ([]Difference, error) {
	topA, err := Open(a)
	if err != nil {
		return nil, err
	}
	defer topA.Close()
	topB, err := Open(b)
	if err != nil {
		return nil, err
	}
	defer topB.Close()

	c := &comparison{exact: o.Exact, linksA: linkGroups{}, linksB: linkGroups{}}
	if o.Exact {
		if err := c.tops(topA, topB); err != nil {
			return nil, err
		}
	}
	if err := Walk(ctx, topA, topB, Visitor[sameness]{Prepare: compareContent, Visit: c.visit}); err != nil {
		return nil, err
	}
	sortDifferences(c.found)
	return c.found, nil
}

// sameness is what Prepare finds out about the contents of two files.
type sameness struct {
	equal bool
	start uint64 // length of the common beginning, in bytes
}

// compareContent loads both entries, and compares the contents of plain files.
func compareContent(ctx context.Context, s *Scratch, step *Step[sameness]) error {
	a, b := step.Origin, step.Target
	if a == nil || b == nil || a.Kind() != b.Kind() {
		return nil
	}
	if a.SameInode(&b.Entry) {
		step.Result.equal = true
		return nil
	}
	if a.Kind() != KindFile {
		if err := a.Load(); err != nil {
			return err
		}
		return b.Load()
	}
	return WithContent(a, b, func(c Content) (err error) {
		step.Result.equal, step.Result.start, err = c.Equal(ctx, s)
		return err
	})
}

// comparison collects differences.
type comparison struct {
	exact          bool
	found          []Difference
	linksA, linksB linkGroups
	// hidden is a directory that only b has: what is below is not listed.
	hidden string
}

func (c *comparison) visit(s *Step[sameness]) error {
	if c.hidden != "" {
		if s.Move == MoveLeave && s.Target.Path == c.hidden {
			c.hidden = ""
		}
		return nil
	}
	if s.Move == MoveLeave {
		return nil
	}
	a, b := counts(s.Origin), counts(s.Target)
	switch {
	case a != nil && b != nil:
		c.both(s)
	case a != nil:
		c.found = append(c.found, Difference{Path: a.Path, What: WhatEntry, A: a.Kind().String(), B: none})
	case b != nil:
		c.found = append(c.found, Difference{Path: b.Path, What: WhatEntry, A: none, B: b.Kind().String()})
	}
	if b != nil && b.Kind() == KindDirectory && (a == nil || a.Kind() != KindDirectory) {
		c.hidden = b.Path
	}
	return nil
}

// counts gives the node if it is one that is compared.
func counts(n *Node) *Node {
	if n == nil || n.Kind() == KindSocket {
		return nil
	}
	return n
}

func (c *comparison) both(s *Step[sameness]) {
	a, b := &s.Origin.Entry, &s.Target.Entry
	c.found = append(c.found, compareEntries(a, b, c.exact)...)
	if a.Kind() == KindFile && b.Kind() == KindFile && !s.Result.equal {
		c.found = append(c.found, Difference{
			Path: a.Path,
			What: WhatContent,
			A:    fmt.Sprintf("%d bytes", a.Size),
			B:    fmt.Sprintf("%d bytes, the first %d the same", b.Size, s.Result.start),
		})
	}
	if !c.exact {
		return
	}
	if first, second := c.linksA.first(a), c.linksB.first(b); first != second {
		c.found = append(c.found, Difference{Path: a.Path, What: WhatHardLink, A: quotePath(first), B: quotePath(second)})
	}
}

// tops compares the metadata of the top directories.
func (c *comparison) tops(a, b *Dir) error {
	entryA, entryB := a.Entry(), b.Entry()
	var err error
	if entryA.Xattrs, err = a.Xattrs(); err != nil {
		return err
	}
	if entryB.Xattrs, err = b.Xattrs(); err != nil {
		return err
	}
	c.found = append(c.found, compareEntries(&entryA, &entryB, true)...)
	return nil
}

// linkGroups tells which names of a tree are hard links of each other. It grows
// with the number of inodes that have several names.
type linkGroups map[inode]string

type inode struct{ device, number uint64 }

// first gives the first path that was asked for of the entry's inode, none where
// that is the entry itself.
func (g linkGroups) first(e *Entry) string {
	if e.Links < 2 || e.Kind() == KindDirectory {
		return none
	}
	id := inode{e.Device, e.Inode}
	if path, ok := g[id]; ok {
		return path
	}
	g[id] = e.Path
	return none
}
