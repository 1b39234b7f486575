package v1

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// CheckPath refuses what is not the path of something in a tree. "" is the top.
func CheckPath(path string) error {
	if len(path) > MaxPath {
		return fmt.Errorf("%w: a path of %d bytes, more than %d", tbdiff.ErrMalformed, len(path), MaxPath)
	}
	if path == "" {
		return nil
	}
	for name := range strings.SplitSeq(path, "/") {
		if err := tbdiff.CheckName(name); err != nil {
			return err
		}
	}
	return nil
}

func malformed(format string, arguments ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{tbdiff.ErrMalformed}, arguments...)...)
}

// check finds what is wrong with a header.
func (h *Header) check() error {
	if h.ContentLimit > MaxContent || h.SourceLimit > MaxSource {
		return malformed("its frames have up to %d bytes of content and %d of source, and at most %d and %d can be",
			h.ContentLimit, h.SourceLimit, MaxContent, MaxSource)
	}
	return nil
}

// checkFrame finds what is wrong with a frame when nothing is known of the tree, but
// for what is stored of its content.
func checkFrame(f *Frame, h *Header) error {
	if len(f.Commands) == 0 {
		return malformed("a frame has no commands")
	}
	if f.Content.Size > h.ContentLimit {
		return malformed("a frame has %d bytes of content, and the header says at most %d", f.Content.Size, h.ContentLimit)
	}
	for _, file := range f.Files {
		if file.Size > math.MaxInt64 {
			return malformed("the file %q cannot be that large", file.Path)
		}
		if err := cmp.Or(checkBelow(file.Path), CheckPath(file.Path), file.checkView()); err != nil {
			return err
		}
	}
	var source uint64
	for _, r := range f.Ranges {
		if err := f.checkRange(r.File, r.Offset, r.Length); err != nil {
			return err
		}
		source += min(r.Length, MaxSource+1) // no overflow: a list is shorter than its section
	}
	if source > h.SourceLimit {
		return malformed("a frame reads %d bytes for its content, and the header says at most %d", source, h.SourceLimit)
	}
	return checkCommands(f)
}

// checkRange makes sure that a range lies in a file of the frame's list.
func (f *Frame) checkRange(file int, offset, length uint64) error {
	if file < 0 || file >= len(f.Files) {
		return malformed("a range is of file %d, and the frame lists %d", file, len(f.Files))
	}
	if size := f.Files[file].ReadSize(); length == 0 || offset > size || length > size-offset {
		return malformed("%d bytes from byte %d are no range of %q, which has %d", length, offset, f.Files[file].Path, size)
	}
	return nil
}

func (f *File) checkView() error {
	v := f.View
	switch {
	case v.Method > ByLZ4:
		return malformed("%q is packed by the method %d, which is not known", f.Path, v.Method)
	case v.Method != AsItIs && (v.Offset > f.Size || v.Length > f.Size-v.Offset || v.Size > math.MaxInt64):
		return malformed("what is packed in %q does not lie in it", f.Path)
	}
	return nil
}

// checkCommands checks each command, and that together they use up the content.
func checkCommands(f *Frame) error {
	var used uint64
	for i, c := range f.Commands {
		if err := checkCommand(f, c); err != nil {
			return fmt.Errorf("%s for %q: %w", c.Op(), c.Subject(), err)
		}
		if _, ok := c.(Write); ok && i < len(f.Commands)-1 {
			return malformed("%s for %q is not the last command of its frame", c.Op(), c.Subject())
		}
		for _, p := range partsOf(c) {
			if p.Kind == Data {
				used += min(p.Length, MaxContent+1)
			}
		}
	}
	if used != f.Content.Size {
		return malformed("the commands of a frame use %d bytes of content, and it has %d", used, f.Content.Size)
	}
	return nil
}

func checkCommand(f *Frame, c Command) error {
	if err := CheckPath(c.Subject()); err != nil {
		return err
	}
	if c.Op() != OpMeta {
		if err := checkBelow(c.Subject()); err != nil {
			return err
		}
	}
	if err := f.checkBefore(BeforeOf(c)); err != nil {
		return err
	}
	switch c := c.(type) {
	case Directory:
		return c.Metadata.check()
	case Write:
		return f.checkParts(c.Parts)
	case PlainFile:
		return cmp.Or(c.Metadata.check(), f.checkParts(c.Parts))
	case Symlink:
		if c.Mode != symlinkMode {
			return malformed("a symbolic link with the mode %#o", c.Mode)
		}
		return cmp.Or(c.Metadata.check(), tbdiff.CheckTarget(c.Target))
	case Device:
		return c.Metadata.check()
	case FIFO:
		return c.Metadata.check()
	case Link:
		return checkOther(c.Subject(), c.To)
	case Move:
		return cmp.Or(checkOther(c.Subject(), c.From), f.checkBefore(c.Moved))
	case Meta:
		return c.check()
	case Delete:
		return nil
	}
	return malformed("there is no such command")
}

// symlinkMode is that of every symbolic link: what a filesystem says means nothing.
const symlinkMode = 0o777

func checkBelow(path string) error {
	if path == "" {
		return malformed("it is about the top itself")
	}
	return nil
}

// checkOther checks the second path of a command.
func checkOther(path, other string) error {
	if path == other {
		return malformed("both paths are the same")
	}
	return cmp.Or(checkBelow(other), CheckPath(other))
}

func (f *Frame) checkBefore(b Before) error {
	if b < 0 || int(b) > len(f.Files) {
		return malformed("it expects file %d, and the frame lists %d", b-1, len(f.Files))
	}
	return nil
}

func (m *Metadata) check() error {
	switch {
	case m.Mode > 0o7777:
		return malformed("%#o are no mode bits", m.Mode)
	case m.Nanoseconds > 999_999_999:
		return malformed("%d nanoseconds are a second and more", m.Nanoseconds)
	}
	return cmp.Or(tbdiff.CheckOwner(m.UID, m.GID), checkAttributes(m.Attributes))
}

func checkAttributes(attributes []Attribute) error {
	converted := make([]tbdiff.Xattr, len(attributes))
	for i, a := range attributes {
		if i > 0 && attributes[i-1].Name >= a.Name {
			return malformed("the attributes %q and %q are not in order", attributes[i-1].Name, a.Name)
		}
		converted[i] = tbdiff.Xattr(a)
	}
	return tbdiff.CheckXattrs(converted)
}

func (m *Meta) check() error {
	if m.Mask == 0 || m.Mask&^maskAll != 0 {
		return malformed("%#x is no mask", byte(m.Mask))
	}
	return m.Metadata.check()
}

// maxPart is the longest part: two bits of the number that has its length are taken.
const maxPart = 1<<62 - 1

// checkParts checks where the parts of a file come from. Whether they make it only a whole
// stream says, since a Write may have come before.
func (f *Frame) checkParts(parts []Part) error {
	for _, p := range parts {
		if p.Kind != Repack && p.Length == 0 || p.Length > maxPart {
			return malformed("a part of %d bytes", p.Length)
		}
		switch {
		case p.Kind == Copy:
			if err := f.checkRange(p.File, p.Offset, p.Length); err != nil {
				return err
			}
			if f.Files[p.File].View.Method != AsItIs {
				return malformed("a copy of what is packed in %q", f.Files[p.File].Path)
			}
		case p.Kind == Repack && p.Length > 0:
			if err := f.checkPacker(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *Frame) checkPacker(p Part) error {
	switch {
	case p.By == ByLZ4:
		return nil
	case p.By != AsItIs:
		return malformed("nobody packs by the method %d", p.By)
	case p.File < 0 || p.File >= len(f.Files) || f.Files[p.File].View.Method != AsItIs:
		return malformed("file %d of %d is no program", p.File, len(f.Files))
	case p.Offset > math.MaxInt32:
		return malformed("%d bytes of a program's output are passed over", p.Offset)
	}
	for _, argument := range p.Arguments {
		if strings.Contains(argument, "\x00") {
			return malformed("an argument %q with NUL", argument)
		}
	}
	return nil
}
