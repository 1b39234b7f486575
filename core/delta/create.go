// Package delta turns two directory trees into a tbdiff stream, and a stream into
// an account of what it would do.
//
// # What a stream of version 0 carries
//
// Everything about an entry but nanoseconds, hard links, holes and the metadata of
// the top directory. Extended attributes are carried for files, directories and
// special files: the format has one command for them that takes a name, and every
// deployer applies it to whatever has that name, although the C writer sends it for
// plain files only.
//
// Create refuses, with an *UnsupportedError that names the path, what a stream
// cannot say: a socket, a file of 4 GiB or more, or a symbolic link with attributes
// in the target, and what is beyond the codec's limits on attributes and nesting.
package delta

import (
	"context"
	"fmt"
	"io"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/core/tree"
)

// Options of Create.
type Options struct {
	// Progress, if not nil, is called after every entry that was looked at.
	Progress func(Stats)
}

// Stats counts what Create did.
type Stats struct {
	Entries  int    // looked at, of both trees
	Commands int    // written, IDENTIFY and UPDATE included
	Data     uint64 // bytes of file content in the stream
}

// Create writes to w the stream of version 0 that turns the tree origin into the
// tree target, each given by the path of its top directory. The same trees give the
// same bytes, on whatever filesystems they are.
//
// Both trees must stay as they are meanwhile; an entry that changes while it is
// read is a *tree.ChangedError. After an error w may have the beginning of a
// stream, which every deployer recognises as truncated. Where that cannot be taken
// back, call Check first: it finds everything that Create refuses.
func Create(ctx context.Context, w io.Writer, origin, target string, o Options) (Stats, error) {
	c := &creator{ctx: ctx, stream: tbdiff.NewWriter(w), options: o}
	c.stats.Commands = 1
	err := walkBoth(ctx, origin, target, func(a, b *tree.Dir) error {
		attributes, err := a.Xattrs()
		if err != nil {
			return err
		}
		c.top.inherits = inheritsACL(attributes)
		return tree.Walk(ctx, a, b, tree.Visitor[content]{Prepare: compare, Visit: c.visit})
	})
	if err != nil {
		return c.stats, err
	}
	c.stats.Commands++
	return c.stats, c.stream.Close()
}

// Check finds whatever Create would refuse of the tree target, reading metadata
// only. Errors are *UnsupportedError and those of tree.Walk.
func Check(ctx context.Context, origin, target string) error {
	return walkBoth(ctx, origin, target, func(a, b *tree.Dir) error {
		return tree.Walk(ctx, a, b, tree.Visitor[struct{}]{
			Prepare: func(_ context.Context, _ *tree.Scratch, s *tree.Step[struct{}]) error {
				if s.Target == nil || s.Target.Kind() == tree.KindSocket {
					return nil
				}
				return s.Target.Load()
			},
			Visit: func(s *tree.Step[struct{}]) error {
				if s.Move != tree.MoveEntry {
					return nil
				}
				return checkEntry(&s.Target.Entry)
			},
		})
	})
}

func walkBoth(ctx context.Context, origin, target string, walk func(origin, target *tree.Dir) error) error {
	a, err := tree.Open(origin)
	if err != nil {
		return fmt.Errorf("cannot read the origin: %w", err)
	}
	defer a.Close()
	b, err := tree.Open(target)
	if err != nil {
		return fmt.Errorf("cannot read the target: %w", err)
	}
	defer b.Close()
	return walk(a, b)
}

// content is what is found out about an entry ahead of its visit.
type content struct {
	same   bool // plain files: no byte differs
	common tree.Common
	// identical: one inode, so that nothing at all differs and nothing was loaded.
	identical bool
}

// compare loads what the visit needs, and compares the contents of two files.
func compare(ctx context.Context, scratch *tree.Scratch, s *tree.Step[content]) error {
	a, b := s.Origin, s.Target
	switch {
	case b == nil || b.Kind() == tree.KindSocket:
		return nil
	case a == nil || a.Kind() != b.Kind():
		return b.Load()
	case b.Kind() != tree.KindDirectory && a.SameInode(&b.Entry):
		s.Result.identical = true
		return nil
	case b.Kind() == tree.KindFile:
		return compareFiles(ctx, scratch, s)
	}
	if err := a.Load(); err != nil {
		return err
	}
	return b.Load()
}

func compareFiles(ctx context.Context, scratch *tree.Scratch, s *tree.Step[content]) error {
	return tree.WithContent(s.Origin, s.Target, func(c tree.Content) (err error) {
		s.Result.common, err = c.Common(ctx, scratch)
		s.Result.same = s.Origin.Size == s.Target.Size && s.Result.common.Start == s.Target.Size
		return err
	})
}
