package tbdiff

import (
	"fmt"
	"math"
	"strings"
)

// Limits of what a stream may hold. The first five are the kernel's (NAME_MAX,
// PATH_MAX, XATTR_NAME_MAX, XATTR_SIZE_MAX and XATTR_LIST_MAX in
// include/uapi/linux/limits.h): more could not be deployed.
const (
	maxName       = 255
	maxTarget     = 4096 - 1
	maxXattrName  = 255
	maxXattrValue = 64 << 10
	maxXattrNames = 64 << 10 // all names of one entry, each with its NUL

	// maxXattrTotal bounds the memory for the attributes of one entry.
	maxXattrTotal = 4 << 20
	// maxDepth is that of the deepest directory that one path name can reach.
	maxDepth = 4096 / 2
	// maxSize is that of the largest file of version 0.
	maxSize = math.MaxUint32
)

// identification is the string that IDENTIFY carries.
const identification = "Codethink:TBDIFFv0"

// File type bits of a mode, from include/uapi/linux/stat.h.
const (
	modeTypes   = 0o170000
	modeSocket  = 0o140000
	modeFile    = 0o100000
	modeBlock   = 0o060000
	modeDir     = 0o040000
	modeChar    = 0o020000
	modeFIFO    = 0o010000
	modeAllBits = 0o177777
)

// check finds what is wrong with a command when nothing is known of the tree.
func check(command Command) error {
	switch c := command.(type) {
	case DirCreate:
		return first(CheckName(c.Name), checkMode(c.Mode, "a directory", modeDir), CheckOwner(c.UID, c.GID))
	case DirDelta:
		return first(CheckName(c.Name), checkMask(c.Mask), checkMode(c.Mode, "a directory", modeDir), CheckOwner(c.UID, c.GID))
	case FileCreate:
		return first(CheckName(c.Name), checkMode(c.Mode, "a plain file", modeFile), CheckOwner(c.UID, c.GID))
	case FileDelta:
		return first(CheckName(c.Name), checkMask(c.Mask), checkMode(c.Mode, "a plain file", modeFile), CheckOwner(c.UID, c.GID), checkRange(c))
	case FileMetadata:
		return first(CheckName(c.Name), checkMask(c.Mask), checkMode(c.Mode, "a plain file", modeFile), CheckOwner(c.UID, c.GID))
	case SymlinkCreate:
		return first(CheckName(c.Name), CheckTarget(c.Target), CheckOwner(c.UID, c.GID))
	case SpecialCreate:
		return first(CheckName(c.Name), checkMode(c.Mode, "a device node or a FIFO", modeChar, modeBlock, modeFIFO, modeSocket), CheckOwner(c.UID, c.GID))
	case XattrsUpdate:
		return first(CheckName(c.Name), CheckXattrs(c.Attributes))
	case DirEnter, EntityDelete:
		return CheckName(nameOf(c))
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// CheckName refuses everything but one plain path component.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the name is empty", ErrUnsafe)
	case name == "." || name == "..":
		return fmt.Errorf("%w: the name is %q", ErrUnsafe, name)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%w: the name %q holds '/' or NUL", ErrUnsafe, name)
	case len(name) > maxName:
		return fmt.Errorf("%w: a name of %d bytes, more than %d", ErrMalformed, len(name), maxName)
	}
	return nil
}

func CheckTarget(target string) error {
	switch {
	case target == "":
		return fmt.Errorf("%w: the link's target is empty", ErrMalformed)
	case strings.Contains(target, "\x00"):
		return fmt.Errorf("%w: the link's target %q holds NUL", ErrMalformed, target)
	case len(target) > maxTarget:
		return fmt.Errorf("%w: a link target of %d bytes, more than %d", ErrMalformed, len(target), maxTarget)
	}
	return nil
}

func checkMode(mode uint32, want string, types ...uint32) error {
	if mode&^modeAllBits == 0 {
		for _, t := range types {
			if mode&modeTypes == t {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: mode %#o is not that of %s", ErrMalformed, mode, want)
}

// CheckOwner refuses the number that chown(2) takes for "leave it as it is" and that
// nothing can be owned by.
func CheckOwner(uid, gid uint32) error {
	if uid == math.MaxUint32 || gid == math.MaxUint32 {
		return fmt.Errorf("%w: owner %d:%d cannot exist", ErrMalformed, uid, gid)
	}
	return nil
}

func checkMask(mask Mask) error {
	if mask&^maskAll != 0 {
		return fmt.Errorf("%w: unknown bits in mask %#x", ErrMalformed, uint16(mask))
	}
	return nil
}

func checkRange(c FileDelta) error {
	if c.Start > c.End {
		return fmt.Errorf("%w: the replaced range starts at %d, after its end %d", ErrMalformed, c.Start, c.End)
	}
	if uint64(c.Start)+uint64(c.Size) > maxSize {
		return fmt.Errorf("%w: the new file would be larger than %d bytes", ErrMalformed, uint64(maxSize))
	}
	return nil
}

func CheckXattrs(attributes []Xattr) error {
	seen := make(map[string]bool, len(attributes))
	names, total := 0, 0
	for _, a := range attributes {
		if err := checkXattr(a.Name, uint64(len(a.Value))); err != nil {
			return err
		}
		if seen[a.Name] {
			return fmt.Errorf("%w: the attribute %q comes twice", ErrMalformed, a.Name)
		}
		seen[a.Name] = true
		names += len(a.Name) + 1
		total += len(a.Value)
	}
	return checkXattrSums(names, total)
}

func checkXattr(name string, size uint64) error {
	switch {
	case name == "" || strings.Contains(name, "\x00"):
		return fmt.Errorf("%w: the attribute name %q is empty or holds NUL", ErrMalformed, name)
	case len(name) > maxXattrName:
		return fmt.Errorf("%w: an attribute name of %d bytes, more than %d", ErrMalformed, len(name), maxXattrName)
	case size > maxXattrValue:
		return fmt.Errorf("%w: the attribute %q has a value of %d bytes, more than %d", ErrMalformed, name, size, maxXattrValue)
	}
	return nil
}

func checkXattrSums(names, total int) error {
	if names > maxXattrNames {
		return fmt.Errorf("%w: attribute names of more than %d bytes together", ErrMalformed, maxXattrNames)
	}
	if total > maxXattrTotal {
		return fmt.Errorf("%w: attributes of more than %d bytes together", ErrMalformed, maxXattrTotal)
	}
	return nil
}
