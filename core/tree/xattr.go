package tree

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The kernel's limits for one list of names and for one value (limits.h:
// XATTR_LIST_MAX, XATTR_SIZE_MAX).
const (
	xattrListMax  = 64 << 10
	xattrValueMax = 64 << 10
	// xattrUsual is the room tried first; it holds the names and the values that
	// practically every entry has.
	xattrUsual = 256
)

// namespaces are those that mean the same on every filesystem (xattr(7)).
var namespaces = [...]string{"security.", "system.", "trusted.", "user."}

// xattrCalls reads the attributes of one inode.
type xattrCalls struct {
	list func(buffer []byte) (int, error)
	get  func(name string, buffer []byte) (int, error)
}

// handleXattrs reads the attributes of an open file or directory.
func handleXattrs(fd int) ([]Xattr, error) {
	return readXattrs(xattrCalls{
		list: func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		get:  func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) },
	})
}

// entryXattrs reads the attributes of an entry that cannot be opened without
// effects: a symbolic link, a device, a fifo.
func entryXattrs(dir int, name string) ([]Xattr, error) {
	path := handlePath(dir, name)
	attributes, err := readXattrs(xattrCalls{
		list: func(b []byte) (int, error) { return unix.Llistxattr(path, b) },
		get:  func(name string, b []byte) (int, error) { return unix.Lgetxattr(path, name, b) },
	})
	if errors.Is(err, unix.ENOENT) && isProcMissing() {
		return nil, errors.New("/proc is not mounted, which reading attributes needs")
	}
	return attributes, err
}

func readXattrs(calls xattrCalls) ([]Xattr, error) {
	list, err := readSized(xattrListMax, calls.list)
	if err == unix.ENOTSUP {
		return nil, nil // a filesystem without attributes has none
	}
	if err != nil || len(list) == 0 {
		return nil, err
	}
	var attributes []Xattr
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if !isPortable(name) {
			continue
		}
		value, err := readSized(xattrValueMax, func(b []byte) (int, error) { return calls.get(name, b) })
		if err != nil {
			return nil, err
		}
		attributes = append(attributes, Xattr{Name: name, Value: value})
	}
	slices.SortFunc(attributes, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return attributes, nil
}

// readSized reads something whose size is not known, first with little room and
// then with the most that the kernel ever gives.
func readSized(limit int, read func([]byte) (int, error)) ([]byte, error) {
	var usual [xattrUsual]byte
	n, err := retry(func() (int, error) { return read(usual[:]) })
	if err == nil {
		return slices.Clone(usual[:n]), nil
	}
	if err != unix.ERANGE {
		return nil, err
	}
	room := make([]byte, limit)
	n, err = retry(func() (int, error) { return read(room) })
	if err != nil {
		return nil, err
	}
	return slices.Clone(room[:n]), nil
}

func isPortable(name string) bool {
	for _, n := range namespaces {
		if strings.HasPrefix(name, n) {
			return true
		}
	}
	return false
}

// EqualXattrs reports whether two lists, each sorted by name, hold the same.
func EqualXattrs(a, b []Xattr) bool {
	return slices.EqualFunc(a, b, func(x, y Xattr) bool {
		return x.Name == y.Name && string(x.Value) == string(y.Value)
	})
}
