package tbdiff

import "fmt"

// decode reads the fields of the command whose opcode was just read. Its result
// means nothing when r.fault is set. Go evaluates the calls in each literal from
// left to right, so the fields stand here in the order of the format.
func (r *Reader) decode() Command {
	if r.fault != nil {
		return nil
	}
	if (r.number == 1) != (r.opcode == OpIdentify) {
		r.failIdentify()
		return nil
	}
	switch r.opcode {
	case OpIdentify:
		return r.decodeIdentify()
	case OpUpdate:
		return Update{}
	case OpDirCreate:
		return DirCreate{Name: r.string(), Mtime: r.uint64(), UID: r.uint32(), GID: r.uint32(), Mode: r.uint32()}
	case OpDirEnter:
		return DirEnter{Name: r.string()}
	case OpDirLeave:
		return DirLeave{Mtime: r.uint64()}
	case OpDirDelta:
		return DirDelta{Mask: Mask(r.uint16()), Mtime: r.uint64(), UID: r.uint32(), GID: r.uint32(), Mode: r.uint32(), Name: r.string()}
	case OpFileCreate:
		return FileCreate{Name: r.string(), Mtime: r.uint64(), Mode: r.uint32(), UID: r.uint32(), GID: r.uint32(), Size: r.uint32()}
	case OpFileDelta:
		return FileDelta{Name: r.string(), Mask: Mask(r.uint16()), Mtime: r.uint64(), UID: r.uint32(), GID: r.uint32(), Mode: r.uint32(),
			Start: r.uint32(), End: r.uint32(), Size: r.uint32()}
	case OpFileMetadata:
		return FileMetadata{Mask: Mask(r.uint16()), Mtime: r.uint64(), UID: r.uint32(), GID: r.uint32(), Mode: r.uint32(), Name: r.string()}
	case OpEntityDelete:
		return EntityDelete{Name: r.string()}
	case OpSymlinkCreate:
		return SymlinkCreate{Mtime: r.uint64(), UID: r.uint32(), GID: r.uint32(), Name: r.string(), Target: r.string()}
	case OpSpecialCreate:
		return SpecialCreate{Name: r.string(), Mtime: r.uint64(), Mode: r.uint32(), UID: r.uint32(), GID: r.uint32(), Rdev: r.uint32()}
	case OpXattrsUpdate:
		return XattrsUpdate{Name: r.string(), Attributes: r.xattrs()}
	case OpEntityMove, OpEntityCopy:
		r.fail(fmt.Errorf("%w: the command is reserved", ErrMalformed))
	default:
		r.fail(fmt.Errorf("%w: there is no such command", ErrMalformed))
	}
	return nil
}

func (r *Reader) failIdentify() {
	if r.number == 1 {
		r.fail(fmt.Errorf("%w: it does not begin with IDENTIFY", ErrMalformed))
	} else {
		r.fail(fmt.Errorf("%w: it identifies itself again", ErrMalformed))
	}
}

func (r *Reader) decodeIdentify() Command {
	// The length comes first, so that another kind of file is not taken for a
	// truncated stream.
	if n := r.uint16(); r.fault == nil && int(n) != len(identification) {
		r.fail(fmt.Errorf("%w: it is not a tbdiff stream of version 0", ErrMalformed))
	}
	if id := r.take(len(identification)); r.fault == nil && string(id) != identification {
		r.fail(fmt.Errorf("%w: it identifies itself as %q, not %q", ErrMalformed, id, identification))
	}
	return Identify{}
}

// xattrs reads a counted list of attributes. The count is a claim: memory grows
// with what really arrives.
func (r *Reader) xattrs() []Xattr {
	var attributes []Xattr
	names, total := 0, 0
	for count := r.uint32(); count > 0 && r.fault == nil; count-- {
		name, size := r.string(), r.uint64()
		if r.fault != nil {
			break
		}
		names += len(name) + 1
		if err := first(checkXattr(name, size), checkXattrSums(names, total+int(min(size, maxXattrValue)))); err != nil {
			r.fail(err)
			break
		}
		total += int(size)
		// A copy: what take gives is overwritten.
		attributes = append(attributes, Xattr{Name: name, Value: append([]byte{}, r.take(int(size))...)})
	}
	return attributes
}
