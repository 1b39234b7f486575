package conformance

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// treeFile is all of a file or directory that a comparison looks at.
type treeFile struct {
	Mode     uint32
	UID, GID uint32
	Rdev     uint64
	Mtime    int64 // nanoseconds
	Content  string
	Xattrs   map[string]string
}

// readTree reads a whole tree, by relative path; the top is ".".
func readTree(top string) (map[string]*treeFile, error) {
	tree := map[string]*treeFile{}
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		tree[name], err = readTreeFile(path)
		return err
	})
	return tree, err
}

func readTreeFile(path string) (*treeFile, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, err
	}
	f := &treeFile{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Rdev: st.Rdev, Mtime: st.Mtim.Nano(), Xattrs: map[string]string{}}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		f.Content = string(content)
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return nil, err
		}
		f.Content = target
	}
	for _, name := range editorXattrs {
		value := make([]byte, 256)
		if n, err := unix.Lgetxattr(path, name, value); err == nil {
			f.Xattrs[name] = string(value[:n])
		}
	}
	return f, nil
}

// editorXattrs are the attributes that an editor sets.
var editorXattrs = []string{"trusted.one", "trusted.two", "security.three"}

// editor changes a tree at random, in all ways in which package managers do and
// some in which nobody should. The same seed gives the same edits.
type editor struct {
	t      testing.TB
	top    string
	random *rand.Rand
	log    []string // for people
}

func newEditor(t testing.TB, top string, seed uint64) *editor {
	return &editor{t: t, top: top, random: rand.New(rand.NewPCG(seed, seed))}
}

// names are few, so that they are used again and get in each other's way.
var editorNames = []string{"a", "b", "c", "d", "usr", "lib", "o257-7-0"}

func (e *editor) name() string { return editorNames[e.random.IntN(len(editorNames))] }

// directory picks one at random.
func (e *editor) directory() string {
	directory := e.top
	for e.random.IntN(3) > 0 {
		next := filepath.Join(directory, e.name())
		if info, err := os.Lstat(next); err != nil || !info.IsDir() {
			break
		}
		directory = next
	}
	return directory
}

// place picks a name, which may or may not be taken.
func (e *editor) place() string { return filepath.Join(e.directory(), e.name()) }

// edit does one edit that works.
func (e *editor) edit() {
	e.t.Helper()
	for range 1000 {
		edit := editorEdits[e.random.IntN(len(editorEdits))]
		place, other := e.place(), e.place()
		if err := edit.do(e, place, other); err == nil {
			e.log = append(e.log, fmt.Sprintf("%s %s %s", edit.name, place[len(e.top):], other[len(e.top):]))
			return
		}
	}
	e.t.Fatal("no random edit works any more")
}

// editorEdits fail where the places do not allow them.
var editorEdits = []struct {
	name string
	do   func(e *editor, place, other string) error
}{
	{"write", func(e *editor, place, _ string) error {
		if info, err := os.Lstat(place); err == nil && !info.Mode().IsRegular() {
			return os.ErrInvalid // opening a pipe waits, and a device may be real
		}
		return os.WriteFile(place, e.content(), 0o644)
	}},
	{"write in the middle of", func(e *editor, place, _ string) error {
		if info, err := os.Lstat(place); err != nil || !info.Mode().IsRegular() {
			return os.ErrInvalid
		}
		f, err := os.OpenFile(place, os.O_WRONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte("overwritten"), e.random.Int64N(20000))
		return err
	}},
	{"truncate", func(e *editor, place, _ string) error { return os.Truncate(place, e.random.Int64N(9000)) }},
	{"mkdir", func(_ *editor, place, _ string) error { return os.MkdirAll(filepath.Join(place, "usr", "lib"), 0o755) }},
	{"mkdir", func(_ *editor, place, _ string) error { return os.Mkdir(place, 0o755) }},
	{"remove", func(_ *editor, place, _ string) error { return os.Remove(place) }},
	{"remove all", func(e *editor, place, _ string) error {
		if e.random.IntN(4) > 0 {
			return os.ErrInvalid // otherwise nothing grows
		}
		return os.RemoveAll(place)
	}},
	{"rename", func(_ *editor, place, other string) error { return os.Rename(place, other) }},
	{"rename", func(_ *editor, place, other string) error { return os.Rename(place, other) }},
	{"exchange", func(_ *editor, place, other string) error {
		return unix.Renameat2(unix.AT_FDCWD, place, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
	}},
	{"link", func(_ *editor, place, other string) error { return os.Link(place, other) }},
	{"symlink", func(e *editor, place, _ string) error { return os.Symlink(e.name(), place) }},
	{"mknod", func(e *editor, place, _ string) error {
		kinds := []uint32{unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK}
		return unix.Mknod(place, kinds[e.random.IntN(len(kinds))]|0o600, int(unix.Mkdev(1, uint32(e.random.IntN(9)))))
	}},
	{"replace by rename", func(e *editor, place, _ string) error {
		draft := filepath.Join(filepath.Dir(place), ".draft")
		if err := os.WriteFile(draft, e.content(), 0o600); err != nil {
			return err
		}
		if err := os.Rename(draft, place); err != nil {
			return os.Remove(draft)
		}
		return nil
	}},
	{"chmod", func(e *editor, place, _ string) error {
		return unix.Fchmodat(unix.AT_FDCWD, place, uint32(0o600+e.random.IntN(0o100)), unix.AT_SYMLINK_NOFOLLOW)
	}},
	{"chown", func(e *editor, place, _ string) error { return os.Lchown(place, e.random.IntN(5), e.random.IntN(5)) }},
	{"touch", func(e *editor, place, _ string) error {
		at := unix.NsecToTimespec(time.Unix(1e9+e.random.Int64N(1e8), e.random.Int64N(1e9)).UnixNano())
		return unix.UtimesNanoAt(unix.AT_FDCWD, place, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	}},
	{"set attribute of", func(e *editor, place, _ string) error {
		return unix.Lsetxattr(place, editorXattrs[e.random.IntN(len(editorXattrs))], []byte(e.name()), 0)
	}},
	{"remove attribute of", func(e *editor, place, _ string) error {
		return unix.Lremovexattr(place, editorXattrs[e.random.IntN(len(editorXattrs))])
	}},
}

// content is sometimes stored within the metadata, sometimes not.
func (e *editor) content() []byte {
	content := make([]byte, e.random.IntN(2)*e.random.IntN(30000)+e.random.IntN(50))
	for i := range content {
		content[i] = byte(e.random.Uint32())
	}
	return content
}
