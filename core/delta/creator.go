package delta

import (
	"context"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/core/tree"
)

// creator writes the commands for the steps of a walk.
type creator struct {
	ctx     context.Context
	stream  *tbdiff.Writer
	options Options
	stats   Stats
	top     directory
	open    []*directory // those on the way to the entry at hand, below the top
}

// directory is one that the walk is in.
type directory struct {
	name string
	// entered: the stream is in it. A directory is entered with the first command
	// that concerns something in it, so that unchanged ones take no room.
	entered bool
	// inherits: what is created in it gets attributes that nobody asked for.
	inherits bool
	// attributes: an update of its own is due when the stream has left it.
	attributes bool
}

func (c *creator) visit(s *tree.Step[content]) error {
	c.stats.Entries++
	if c.options.Progress != nil {
		defer func() { c.options.Progress(c.stats) }()
	}
	switch s.Move {
	case tree.MoveGone:
		return c.write(tbdiff.EntityDelete{Name: s.Origin.Name()})
	case tree.MoveLeave:
		return c.leave(&s.Target.Entry)
	}
	if err := checkEntry(&s.Target.Entry); err != nil {
		return err
	}
	if s.Result.identical {
		return nil
	}
	if s.Origin != nil && s.Origin.Kind() != s.Target.Kind() {
		if err := c.write(tbdiff.EntityDelete{Name: s.Origin.Name()}); err != nil {
			return err
		}
		s.Origin = nil // nothing of it is left
	}
	switch s.Target.Kind() {
	case tree.KindDirectory:
		return c.directory(s)
	case tree.KindFile:
		return c.file(s)
	case tree.KindSymlink:
		return c.symlink(s)
	}
	return c.special(s)
}

// directory creates or changes a directory and makes it the one at hand.
func (c *creator) directory(s *tree.Step[content]) error {
	d := &directory{name: s.Target.Name()}
	if s.Origin == nil {
		if err := c.createDirectory(&s.Target.Entry); err != nil {
			return err
		}
		d.attributes = len(s.Target.Xattrs) > 0
		c.open = append(c.open, d)
		return c.enter()
	}
	d.inherits = inheritsACL(s.Origin.Xattrs)
	d.attributes = !tree.EqualXattrs(s.Origin.Xattrs, s.Target.Xattrs)
	mask := differing(&s.Origin.Entry, &s.Target.Entry)
	if mask != 0 {
		t := &s.Target.Entry
		err := c.write(tbdiff.DirDelta{Mask: mask, Mtime: mtime(t), UID: t.UID, GID: t.GID, Mode: t.Mode, Name: d.name})
		if err != nil {
			return err
		}
	}
	c.open = append(c.open, d)
	if mask != 0 {
		return c.enter()
	}
	return nil
}

func (c *creator) createDirectory(t *tree.Entry) error {
	err := c.write(tbdiff.DirCreate{Name: t.Name(), Mtime: mtime(t), UID: t.UID, GID: t.GID, Mode: t.Mode})
	if err != nil || !c.at().inherits {
		return err
	}
	// Before anything is created in it, which would inherit in turn.
	return c.write(tbdiff.XattrsUpdate{Name: t.Name()})
}

// leave ends a directory. Its modification time is set last, since every change in
// it moves that; its attributes follow, so that a default ACL among them does not
// reach what was created in it.
func (c *creator) leave(t *tree.Entry) error {
	d := c.open[len(c.open)-1]
	if d.entered {
		if err := c.write(tbdiff.DirLeave{Mtime: mtime(t)}); err != nil {
			return err
		}
	}
	c.open = c.open[:len(c.open)-1]
	if d.attributes {
		return c.write(attributesOf(t))
	}
	return nil
}

// special creates, or deletes and creates again, a device or FIFO.
func (c *creator) special(s *tree.Step[content]) error {
	t := &s.Target.Entry
	if s.Origin != nil && sameOther(&s.Origin.Entry, t) {
		if tree.EqualXattrs(s.Origin.Xattrs, t.Xattrs) {
			return nil
		}
		return c.write(attributesOf(t))
	}
	err := c.create(s, tbdiff.SpecialCreate{
		Name: t.Name(), Mtime: mtime(t), Mode: t.Mode, UID: t.UID, GID: t.GID, Rdev: uint32(t.Rdev),
	})
	if err != nil || len(t.Xattrs) == 0 && !c.at().inherits {
		return err
	}
	return c.write(attributesOf(t))
}

// symlink creates, or deletes and creates again, a symbolic link. The target's has
// no attributes: checkEntry saw to that.
func (c *creator) symlink(s *tree.Step[content]) error {
	t := &s.Target.Entry
	if s.Origin != nil && sameOther(&s.Origin.Entry, t) && len(s.Origin.Xattrs) == 0 {
		return nil
	}
	return c.create(s, tbdiff.SymlinkCreate{Mtime: mtime(t), UID: t.UID, GID: t.GID, Name: t.Name(), Target: t.Target})
}

// create writes a command that creates the entry, after deleting the one that the
// origin has, if any.
func (c *creator) create(s *tree.Step[content], command tbdiff.Command) error {
	if s.Origin != nil {
		if err := c.write(tbdiff.EntityDelete{Name: s.Target.Name()}); err != nil {
			return err
		}
	}
	return c.write(command)
}

// at gives the directory at hand.
func (c *creator) at() *directory {
	if len(c.open) == 0 {
		return &c.top
	}
	return c.open[len(c.open)-1]
}

// enter brings the stream into the directory at hand.
func (c *creator) enter() error {
	for _, d := range c.open {
		if d.entered {
			continue
		}
		c.stats.Commands++
		if err := c.stream.Write(tbdiff.DirEnter{Name: d.name}); err != nil {
			return err
		}
		d.entered = true
	}
	return nil
}

// write writes a command for something in the directory at hand.
func (c *creator) write(command tbdiff.Command) error {
	if err := c.enter(); err != nil {
		return err
	}
	c.stats.Commands++
	return c.stream.Write(command)
}

// differing gives the mask of the metadata that differ.
func differing(a, b *tree.Entry) tbdiff.Mask {
	var mask tbdiff.Mask
	if a.Modified.Seconds != b.Modified.Seconds {
		mask |= tbdiff.MaskMtime
	}
	if a.Mode != b.Mode {
		mask |= tbdiff.MaskMode
	}
	if a.UID != b.UID {
		mask |= tbdiff.MaskUID
	}
	if a.GID != b.GID {
		mask |= tbdiff.MaskGID
	}
	return mask
}

// sameOther compares two symbolic links or two special files, all but attributes.
func sameOther(a, b *tree.Entry) bool {
	mask := differing(a, b)
	if a.Kind() == tree.KindSymlink {
		mask &^= tbdiff.MaskMode // a link's means nothing, and the format has none
	}
	return mask == 0 && a.Target == b.Target && a.Rdev == b.Rdev
}

// mtime gives the modification time as the format has it: two's complement.
func mtime(e *tree.Entry) uint64 { return uint64(e.Modified.Seconds) }

// attributesOf gives the command that makes the entry's attributes what they are.
func attributesOf(e *tree.Entry) tbdiff.XattrsUpdate {
	update := tbdiff.XattrsUpdate{Name: e.Name()}
	for _, x := range e.Xattrs {
		update.Attributes = append(update.Attributes, tbdiff.Xattr{Name: x.Name, Value: x.Value})
	}
	return update
}

// inheritsACL reports whether a directory with these attributes hands an ACL to
// what is created in it (acl(5), "Object creation and default ACLs").
func inheritsACL(attributes []tree.Xattr) bool {
	for _, x := range attributes {
		if x.Name == "system.posix_acl_default" {
			return true
		}
	}
	return false
}
