package kernelset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Root reads a root tree of which nothing is trusted: every symbolic link in it,
// also an absolute one, is followed as if the tree were "/", so that none leads
// out (openat2 with RESOLVE_IN_ROOT).
type Root struct {
	dir *os.File
}

// OpenRoot opens the tree at a path. The caller closes it.
func OpenRoot(dir string) (*Root, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &Root{os.NewFile(uintptr(fd), dir)}, nil
}

// Close releases the tree.
func (r *Root) Close() error { return r.dir.Close() }

// Open opens a file or directory of the tree for reading. It never blocks, also
// not on a pipe.
func (r *Root) Open(name string) (*os.File, error) {
	return r.open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
}

func (r *Root) open(name string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(r.dir.Fd()), name, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), name), nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN): // EAGAIN: a rename was under way
			continue
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
}

// regular gives the size of a regular file, ok false for anything else.
func (r *Root) regular(name string) (size uint64, ok bool) {
	file, err := r.open(name, unix.O_PATH)
	if err != nil {
		return 0, false
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	return uint64(info.Size()), true
}

// readLink gives the target of a symbolic link, "" for anything else.
func (r *Root) readLink(name string) string {
	parent, err := r.open(path.Dir(name), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return ""
	}
	defer parent.Close()
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(parent.Fd()), path.Base(name), buffer)
	if err != nil {
		return ""
	}
	return string(buffer[:n])
}

// list gives the names in a directory, sorted; none when there is no such
// directory.
func (r *Root) list(name string) ([]string, error) {
	dir, err := r.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", name, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", name, err)
	}
	slices.Sort(names)
	return names, nil
}

// glob gives the paths of the tree that match a pattern of path.Match, sorted
// within each directory.
func (r *Root) glob(pattern string) ([]string, error) {
	found := []string{"."}
	for _, segment := range strings.Split(strings.Trim(path.Clean(pattern), "/"), "/") {
		var next []string
		for _, dir := range found {
			if !strings.ContainsAny(segment, `*?[\`) {
				next = append(next, path.Join(dir, segment))
				continue
			}
			names, err := r.list(dir)
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				if ok, err := path.Match(segment, name); err != nil {
					return nil, fmt.Errorf("cannot match %q: %w", pattern, err)
				} else if ok {
					next = append(next, path.Join(dir, name))
				}
			}
		}
		found = next
	}
	return found, nil
}
