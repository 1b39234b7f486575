package delta

import (
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/core/tree"
)

// file creates or changes a plain file.
func (c *creator) file(s *tree.Step[content]) error {
	a, t := s.Origin, &s.Target.Entry
	if a == nil {
		return c.createFile(s)
	}
	mask := differing(&a.Entry, t)
	attributes := !tree.EqualXattrs(a.Xattrs, t.Xattrs)
	switch {
	case s.Result.same && mask == 0 && !attributes:
		return nil
	case s.Result.same && a.Links < 2:
		return c.changeMetadata(t, mask, attributes)
	case a.Size > maxFile:
		// The offsets of a delta could not point behind 4 GiB of it.
		if err := c.write(tbdiff.EntityDelete{Name: t.Name()}); err != nil {
			return err
		}
		return c.createFile(s)
	}
	// Also for a file with several names of which only metadata or attributes
	// change: those belong to the inode, so changing them would change what the
	// other names show. A delta makes a file of its own, be it of the old content.
	return c.changeFile(s, mask)
}

func (c *creator) createFile(s *tree.Step[content]) error {
	t := &s.Target.Entry
	command := tbdiff.FileCreate{
		Name: t.Name(), Mtime: mtime(t), Mode: t.Mode, UID: t.UID, GID: t.GID, Size: uint32(t.Size),
	}
	if err := c.writeData(command, s.Target, 0, t.Size); err != nil {
		return err
	}
	return c.attributesOfNewFile(t)
}

// changeFile writes a delta. It is never larger than the whole file would be, so
// there is no choice to make, even where nothing is common.
func (c *creator) changeFile(s *tree.Step[content], mask tbdiff.Mask) error {
	t, common := &s.Target.Entry, s.Result.common
	end := t.Size - common.End
	command := tbdiff.FileDelta{
		Name: t.Name(), Mask: mask, Mtime: mtime(t), UID: t.UID, GID: t.GID, Mode: t.Mode,
		Start: uint32(common.Start), End: uint32(s.Origin.Size - common.End), Size: uint32(end - common.Start),
	}
	if err := c.writeData(command, s.Target, common.Start, end); err != nil {
		return err
	}
	if len(t.Xattrs) == 0 && len(s.Origin.Xattrs) > 0 {
		return c.write(attributesOf(t)) // says so, for a deployer that keeps the old ones
	}
	return c.attributesOfNewFile(t)
}

// attributesOfNewFile gives a file its attributes after a command that made it
// anew, so that it has none but inherited ones.
func (c *creator) attributesOfNewFile(t *tree.Entry) error {
	if len(t.Xattrs) == 0 && !c.at().inherits {
		return nil
	}
	return c.write(attributesOf(t))
}

// changeMetadata changes a file whose content stays.
func (c *creator) changeMetadata(t *tree.Entry, mask tbdiff.Mask, attributes bool) error {
	if mask != 0 {
		err := c.write(tbdiff.FileMetadata{Mask: mask, Mtime: mtime(t), UID: t.UID, GID: t.GID, Mode: t.Mode, Name: t.Name()})
		if err != nil {
			return err
		}
		// Changing the owner takes away file capabilities (capabilities(7)), which
		// are an attribute: so all are set again.
		attributes = attributes || len(t.Xattrs) > 0
	}
	if !attributes {
		return nil
	}
	return c.write(attributesOf(t))
}

// writeData writes a command with the content of the file from start to end.
func (c *creator) writeData(command tbdiff.Command, n *tree.Node, start, end uint64) error {
	if err := c.enter(); err != nil {
		return err
	}
	f, err := n.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	c.stats.Commands++
	c.stats.Data += end - start
	return c.stream.WriteData(command, f.Section(c.ctx, start, end))
}
