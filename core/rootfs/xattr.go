package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// Attributes that the kernel itself gives or takes.
const (
	xattrAccessACL  = "system.posix_acl_access"
	xattrDefaultACL = "system.posix_acl_default"
	xattrCapability = "security.capability"
)

// replaceXattrs makes the attributes of an entry those of c. It does nothing when
// they are already: the C tool sends them with every file that has any, and a file
// with several names is to keep them then.
func (d *deployment) replaceXattrs(c tbdiff.XattrsUpdate) error {
	e, err := openEntry(d.trail.here(), c.Name)
	if err != nil {
		return fmt.Errorf("cannot set attributes: %w", err)
	}
	defer func() { e.close() }()
	if e.fileType() == unix.S_IFLNK {
		return fmt.Errorf("cannot set attributes: %w", errSymlink)
	}
	obsolete, missing, err := compareXattrs(e.path(), c.Attributes)
	if err != nil || len(obsolete)+len(missing) == 0 {
		return err
	}
	if e.fileType() == unix.S_IFREG && e.stat.Nlink > 1 {
		own, err := d.separate(e, c.Name)
		if err != nil {
			return err
		}
		e.close()
		e = own
	}
	return changeXattrs(e.path(), obsolete, missing, func(err error) error {
		return explain(d.trail.here(), c.Name, err)
	})
}

func changeXattrs(path string, obsolete []string, missing []tbdiff.Xattr, explain func(error) error) error {
	for _, name := range obsolete {
		// Some go together: one that went with another is gone already.
		if err := unix.Removexattr(path, name); err != nil && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("cannot remove attribute %q: %w", name, explain(err))
		}
	}
	for _, a := range missing {
		if err := unix.Setxattr(path, a.Name, a.Value, 0); err != nil {
			return fmt.Errorf("cannot set attribute %q: %w", a.Name, explain(err))
		}
	}
	return nil
}

// compareXattrs says which attributes are there and not wanted, and which are wanted
// and not there with that value.
func compareXattrs(path string, wanted []tbdiff.Xattr) (obsolete []string, missing []tbdiff.Xattr, err error) {
	names, err := listXattrs(path)
	if err != nil {
		return nil, nil, err
	}
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	for _, a := range wanted {
		if there[a.Name] {
			delete(there, a.Name)
			value, err := getXattr(path, a.Name)
			if err == nil && value != nil && bytes.Equal(value, a.Value) {
				continue
			}
		}
		missing = append(missing, a)
	}
	for _, name := range names {
		if there[name] {
			obsolete = append(obsolete, name)
		}
	}
	return obsolete, missing, nil
}

// copyXattrs gives the file to all attributes of the file from.
func copyXattrs(to, from string) error {
	names, err := listXattrs(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		value, err := getXattr(from, name)
		if err != nil {
			return err
		}
		if err := unix.Setxattr(to, name, value, 0); err != nil {
			return fmt.Errorf("cannot set attribute %q: %w", name, err)
		}
	}
	return nil
}

// listXattrs gives the names of a file's attributes; none where the filesystem has
// no attributes.
func listXattrs(path string) ([]string, error) {
	list, err := readXattr(func(b []byte) (int, error) { return unix.Listxattr(path, b) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list attributes: %w", err)
	}
	names := strings.Split(string(list), "\x00")
	return names[:len(names)-1], nil // each name ends with a NUL
}

// getXattr gives the value of an attribute, nil when it is not there.
func getXattr(path, name string) ([]byte, error) {
	value, err := readXattr(func(b []byte) (int, error) { return unix.Getxattr(path, name, b) })
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read attribute %q: %w", name, err)
	}
	return value, nil
}

// readXattr calls read with a buffer that is large enough. The kernel limits both
// lists and values to 64 KiB (XATTR_LIST_MAX, XATTR_SIZE_MAX).
func readXattr(read func([]byte) (int, error)) ([]byte, error) {
	const most = 64 << 10
	b := make([]byte, 256)
	n, err := read(b)
	if errors.Is(err, unix.ERANGE) {
		b = make([]byte, most)
		n, err = read(b)
	}
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}
