package delta_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/delta"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/core/tree/treetest"
)

// payload stands behind a command that carries content.
type payload string

// commands takes a stream apart, without IDENTIFY and UPDATE.
func commands(t testing.TB, stream []byte) []any {
	t.Helper()
	var found []any
	r := tbdiff.NewReader(bytes.NewReader(stream))
	for {
		command, err := r.Next()
		if err == io.EOF {
			return found
		}
		must(t, err)
		switch command.(type) {
		case tbdiff.Identify, tbdiff.Update:
			continue
		}
		found = append(found, command)
		if content, err := io.ReadAll(r.Data()); err != nil {
			t.Fatal(err)
		} else if len(content) > 0 {
			found = append(found, payload(content))
		}
	}
}

// acl is a default ACL that gives a group something, as the kernel keeps it
// (linux/posix_acl_xattr.h): version 2; user, group, mask, other.
var acl = string([]byte{
	2, 0, 0, 0,
	0x01, 0, 7, 0, 0xff, 0xff, 0xff, 0xff,
	0x04, 0, 5, 0, 0xff, 0xff, 0xff, 0xff,
	0x08, 0, 7, 0, 7, 0, 0, 0,
	0x10, 0, 7, 0, 0xff, 0xff, 0xff, 0xff,
	0x20, 0, 5, 0, 0xff, 0xff, 0xff, 0xff,
})

func xattrs(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func attributes(name string, pairs ...string) tbdiff.XattrsUpdate {
	u := tbdiff.XattrsUpdate{Name: name}
	for i := 0; i < len(pairs); i += 2 {
		u.Attributes = append(u.Attributes, tbdiff.Xattr{Name: pairs[i], Value: []byte(pairs[i+1])})
	}
	return u
}

const (
	file = treetest.File
	dir  = treetest.Dir
)

func TestCommands(t *testing.T) {
	tests := []struct {
		name          string
		before, after []item
		want          []any
	}{
		{
			name:   "trees that are the same, but for nanoseconds",
			before: []item{{Path: "d", Mode: dir}, {Path: "d/f", Content: "x", Nano: 1}, {Path: "l", Mode: treetest.Lnk, Target: "t", Nano: 1}},
			after:  []item{{Path: "d", Mode: dir, Nano: 5}, {Path: "d/f", Content: "x"}, {Path: "l", Mode: treetest.Lnk, Target: "t"}},
		}, {
			name:   "additions and changes sorted by bytes, then deletions",
			before: []item{{Path: "a"}, {Path: "c"}, {Path: "B"}, {Path: "z"}},
			after:  []item{{Path: "b"}, {Path: "c", Mtime: 1}, {Path: "A"}, {Path: "\xff"}},
			want: []any{
				tbdiff.FileCreate{Name: "A", Mode: file},
				tbdiff.FileCreate{Name: "b", Mode: file},
				tbdiff.FileMetadata{Name: "c", Mask: tbdiff.MaskMtime, Mtime: 1, Mode: file},
				tbdiff.FileCreate{Name: "\xff", Mode: file},
				tbdiff.EntityDelete{Name: "B"}, tbdiff.EntityDelete{Name: "a"}, tbdiff.EntityDelete{Name: "z"},
			},
		}, {
			name:   "a change deep below: the way there is entered, and left with its times",
			before: []item{{Path: "a", Mode: dir, Mtime: 1}, {Path: "a/b", Mode: dir, Mtime: 2}, {Path: "a/b/f"}, {Path: "a/c", Mode: dir}},
			after:  []item{{Path: "a", Mode: dir, Mtime: 1}, {Path: "a/b", Mode: dir, Mtime: 2}, {Path: "a/b/f", UID: 7}, {Path: "a/c", Mode: dir}},
			want: []any{
				tbdiff.DirEnter{Name: "a"}, tbdiff.DirEnter{Name: "b"},
				tbdiff.FileMetadata{Name: "f", Mask: tbdiff.MaskUID, UID: 7, Mode: file},
				tbdiff.DirLeave{Mtime: 2}, tbdiff.DirLeave{Mtime: 1},
			},
		}, {
			name:   "a directory's metadata",
			before: []item{{Path: "d", Mode: dir, Mtime: 1}, {Path: "d/f"}},
			after:  []item{{Path: "d", Mode: dir | 0o1000, Mtime: 2, UID: 3, GID: 4}, {Path: "d/f"}},
			want: []any{
				tbdiff.DirDelta{Name: "d", Mask: 15, Mtime: 2, UID: 3, GID: 4, Mode: dir | 0o1000},
				tbdiff.DirEnter{Name: "d"}, tbdiff.DirLeave{Mtime: 2},
			},
		}, {
			name:   "a deletion in a directory",
			before: []item{{Path: "d", Mode: dir, Mtime: 1}, {Path: "d/sub", Mode: dir}, {Path: "d/sub/f"}},
			after:  []item{{Path: "d", Mode: dir, Mtime: 1}},
			want:   []any{tbdiff.DirEnter{Name: "d"}, tbdiff.EntityDelete{Name: "sub"}, tbdiff.DirLeave{Mtime: 1}},
		}, {
			name: "new directories, the empty one too",
			after: []item{
				{Path: "d", Mode: dir, Mtime: 1, UID: 2, GID: 3}, {Path: "d/e", Mode: dir, Mtime: 4},
				{Path: "d/f", Content: "xyz", Mtime: 5}, {Path: "d/l", Mode: treetest.Lnk, Target: "t", Mtime: 6},
			},
			want: []any{
				tbdiff.DirCreate{Name: "d", Mtime: 1, UID: 2, GID: 3, Mode: dir}, tbdiff.DirEnter{Name: "d"},
				tbdiff.DirCreate{Name: "e", Mtime: 4, Mode: dir}, tbdiff.DirEnter{Name: "e"}, tbdiff.DirLeave{Mtime: 4},
				tbdiff.FileCreate{Name: "f", Mtime: 5, Mode: file, Size: 3}, payload("xyz"),
				tbdiff.SymlinkCreate{Name: "l", Target: "t", Mtime: 6},
				tbdiff.DirLeave{Mtime: 1},
			},
		}, {
			name:   "content with common ends, and all metadata with it",
			before: []item{{Path: "f", Content: "begin old end", Mtime: 1}},
			after:  []item{{Path: "f", Content: "begin new! end", Mtime: 1, UID: 4}},
			want: []any{
				tbdiff.FileDelta{Name: "f", Mask: tbdiff.MaskUID, Mtime: 1, UID: 4, Mode: file, Start: 6, End: 9, Size: 4}, payload("new!"),
			},
		}, {
			name:   "common ends never overlap: a repetition grows and shrinks",
			before: []item{{Path: "cut", Content: "aaaaaa"}, {Path: "grow", Content: "aaa"}},
			after:  []item{{Path: "cut", Content: "aaa"}, {Path: "grow", Content: "aaaaaa"}},
			want: []any{
				tbdiff.FileDelta{Name: "cut", Mode: file, Start: 3, End: 6},
				tbdiff.FileDelta{Name: "grow", Mode: file, Start: 3, End: 3, Size: 3}, payload("aaa"),
			},
		}, {
			name:   "to and from an empty file",
			before: []item{{Path: "from"}, {Path: "to", Content: "xy"}},
			after:  []item{{Path: "from", Content: "xy"}, {Path: "to"}},
			want: []any{
				tbdiff.FileDelta{Name: "from", Mode: file, Size: 2}, payload("xy"),
				tbdiff.FileDelta{Name: "to", Mode: file, End: 2},
			},
		}, {
			name:   "times before 1970 and after 2106",
			before: []item{{Path: "f"}, {Path: "g"}},
			after:  []item{{Path: "f", Mtime: -2}, {Path: "g", Mtime: 1 << 33}},
			want: []any{
				tbdiff.FileMetadata{Name: "f", Mask: tbdiff.MaskMtime, Mtime: 1<<64 - 2, Mode: file},
				tbdiff.FileMetadata{Name: "g", Mask: tbdiff.MaskMtime, Mtime: 1 << 33, Mode: file},
			},
		}, {
			name: "types that change: deletion, then creation, in their place",
			before: []item{
				{Path: "d2f", Mode: dir}, {Path: "d2f/x"}, {Path: "f2d"}, {Path: "f2l"}, {Path: "l2f", Mode: treetest.Lnk, Target: "d2f"},
				{Path: "p2c", Mode: treetest.FIFO}, {Path: "s2f", Mode: treetest.Sock}, {Path: "z"},
			},
			after: []item{
				{Path: "d2f"}, {Path: "f2d", Mode: dir}, {Path: "f2d/in"}, {Path: "f2l", Mode: treetest.Lnk, Target: "t"}, {Path: "l2f"},
				{Path: "p2c", Mode: treetest.Char, Rdev: unix.Mkdev(1, 3)}, {Path: "s2f"}, {Path: "z", UID: 1},
			},
			want: []any{
				tbdiff.EntityDelete{Name: "d2f"}, tbdiff.FileCreate{Name: "d2f", Mode: file},
				tbdiff.EntityDelete{Name: "f2d"}, tbdiff.DirCreate{Name: "f2d", Mode: dir}, tbdiff.DirEnter{Name: "f2d"},
				tbdiff.FileCreate{Name: "in", Mode: file}, tbdiff.DirLeave{},
				tbdiff.EntityDelete{Name: "f2l"}, tbdiff.SymlinkCreate{Name: "f2l", Target: "t"},
				tbdiff.EntityDelete{Name: "l2f"}, tbdiff.FileCreate{Name: "l2f", Mode: file},
				tbdiff.EntityDelete{Name: "p2c"}, tbdiff.SpecialCreate{Name: "p2c", Mode: treetest.Char, Rdev: 0x103},
				tbdiff.EntityDelete{Name: "s2f"}, tbdiff.FileCreate{Name: "s2f", Mode: file},
				tbdiff.FileMetadata{Name: "z", Mask: tbdiff.MaskUID, UID: 1, Mode: file},
			},
		}, {
			name: "symbolic links: time, owner, group and target each count",
			before: []item{
				{Path: "gid", Mode: treetest.Lnk, Target: "t"}, {Path: "mtime", Mode: treetest.Lnk, Target: "t"},
				{Path: "target", Mode: treetest.Lnk, Target: "t"}, {Path: "uid", Mode: treetest.Lnk, Target: "t"},
			},
			after: []item{
				{Path: "gid", Mode: treetest.Lnk, Target: "t", GID: 1}, {Path: "mtime", Mode: treetest.Lnk, Target: "t", Mtime: 1},
				{Path: "target", Mode: treetest.Lnk, Target: "u"}, {Path: "uid", Mode: treetest.Lnk, Target: "t", UID: 1},
			},
			want: []any{
				tbdiff.EntityDelete{Name: "gid"}, tbdiff.SymlinkCreate{Name: "gid", Target: "t", GID: 1},
				tbdiff.EntityDelete{Name: "mtime"}, tbdiff.SymlinkCreate{Name: "mtime", Target: "t", Mtime: 1},
				tbdiff.EntityDelete{Name: "target"}, tbdiff.SymlinkCreate{Name: "target", Target: "u"},
				tbdiff.EntityDelete{Name: "uid"}, tbdiff.SymlinkCreate{Name: "uid", Target: "t", UID: 1},
			},
		}, {
			name: "special files that change are made again",
			before: []item{
				{Path: "c", Mode: treetest.Char, Rdev: unix.Mkdev(1, 3)}, {Path: "p", Mode: treetest.FIFO}, {Path: "q", Mode: treetest.FIFO},
			},
			after: []item{
				{Path: "c", Mode: treetest.Char, Rdev: unix.Mkdev(259, 70000)}, {Path: "p", Mode: treetest.FIFO | 0o20}, {Path: "q", Mode: treetest.FIFO},
			},
			want: []any{
				// major in bits 8 to 19, the minor's rest above
				tbdiff.EntityDelete{Name: "c"}, tbdiff.SpecialCreate{Name: "c", Mode: treetest.Char, Rdev: 0x11110370},
				tbdiff.EntityDelete{Name: "p"}, tbdiff.SpecialCreate{Name: "p", Mode: treetest.FIFO | 0o20},
			},
		}, {
			name:   "a socket that goes",
			before: []item{{Path: "s", Mode: treetest.Sock}},
			want:   []any{tbdiff.EntityDelete{Name: "s"}},
		}, {
			name: "attributes of files: with every new or changed file that has some, none when all went",
			before: []item{
				{Path: "changed", Content: "x", Xattrs: xattrs("user.a", "1")}, {Path: "gone", Xattrs: xattrs("user.a", "1")},
				{Path: "owner", Xattrs: xattrs("user.a", "1")}, {Path: "rewritten", Content: "x", Xattrs: xattrs("user.a", "1")},
				{Path: "same", Xattrs: xattrs("user.a", "1")}, {Path: "value", Xattrs: xattrs("user.a", "1")},
			},
			after: []item{
				{Path: "changed", Content: "y", Xattrs: xattrs("user.a", "1")}, {Path: "gone"},
				{Path: "new", Xattrs: xattrs("user.b", "", "user.a", "long")},
				{Path: "owner", UID: 1, Xattrs: xattrs("user.a", "1")}, {Path: "rewritten", Content: "y"},
				{Path: "same", Xattrs: xattrs("user.a", "1")}, {Path: "value", Xattrs: xattrs("user.a", "2")},
			},
			want: []any{
				tbdiff.FileDelta{Name: "changed", Mode: file, End: 1, Size: 1}, payload("y"), attributes("changed", "user.a", "1"),
				attributes("gone"),
				tbdiff.FileCreate{Name: "new", Mode: file}, attributes("new", "user.b", "", "user.a", "long"),
				tbdiff.FileMetadata{Name: "owner", Mask: tbdiff.MaskUID, UID: 1, Mode: file}, attributes("owner", "user.a", "1"),
				tbdiff.FileDelta{Name: "rewritten", Mode: file, End: 1, Size: 1}, payload("y"), attributes("rewritten"),
				attributes("value", "user.a", "2"),
			},
		}, {
			name: "attributes of directories and special files; those of a symbolic link make it anew",
			before: []item{
				{Path: "d", Mode: dir}, {Path: "d/f"}, {Path: "l", Mode: treetest.Lnk, Target: "t", Xattrs: xattrs("trusted.a", "1")}, {Path: "p", Mode: treetest.FIFO},
			},
			after: []item{
				{Path: "d", Mode: dir, Xattrs: xattrs("user.a", "1")}, {Path: "d/f", Mtime: 1}, {Path: "l", Mode: treetest.Lnk, Target: "t"},
				{Path: "n", Mode: dir, Xattrs: xattrs("user.a", "1")}, {Path: "p", Mode: treetest.FIFO, Xattrs: xattrs("trusted.a", "1")},
			},
			want: []any{
				tbdiff.DirEnter{Name: "d"}, tbdiff.FileMetadata{Name: "f", Mask: tbdiff.MaskMtime, Mtime: 1, Mode: file}, tbdiff.DirLeave{},
				attributes("d", "user.a", "1"),
				tbdiff.EntityDelete{Name: "l"}, tbdiff.SymlinkCreate{Name: "l", Target: "t"},
				tbdiff.DirCreate{Name: "n", Mode: dir}, tbdiff.DirEnter{Name: "n"}, tbdiff.DirLeave{}, attributes("n", "user.a", "1"),
				attributes("p", "trusted.a", "1"),
			},
		}, {
			name:   "what would inherit an ACL is freed of it, before anything is made in it",
			before: []item{{Path: "d", Mode: dir, Xattrs: xattrs("system.posix_acl_default", acl)}},
			after: []item{
				{Path: "d", Mode: dir, Xattrs: xattrs("system.posix_acl_default", acl)},
				{Path: "d/f"}, {Path: "d/n", Mode: dir}, {Path: "d/n/g"}, {Path: "d/p", Mode: treetest.FIFO},
			},
			want: []any{
				tbdiff.DirEnter{Name: "d"},
				tbdiff.FileCreate{Name: "f", Mode: file}, attributes("f"),
				tbdiff.DirCreate{Name: "n", Mode: dir}, attributes("n"), tbdiff.DirEnter{Name: "n"},
				tbdiff.FileCreate{Name: "g", Mode: file}, tbdiff.DirLeave{},
				tbdiff.SpecialCreate{Name: "p", Mode: treetest.FIFO}, attributes("p"),
				tbdiff.DirLeave{},
			},
		}, {
			name:   "a name among several of a file: the others must not change with it",
			before: []item{{Path: "a", Content: "xy"}, {Path: "b", Link: "a"}, {Path: "c", Link: "a"}},
			after:  []item{{Path: "a", Content: "xy", UID: 1}, {Path: "b", Content: "xy", Xattrs: xattrs("user.a", "1")}, {Path: "c", Content: "xy"}},
			want: []any{
				tbdiff.FileDelta{Name: "a", Mask: tbdiff.MaskUID, UID: 1, Mode: file, Start: 2, End: 2},
				tbdiff.FileDelta{Name: "b", Mode: file, Start: 2, End: 2}, attributes("b", "user.a", "1"),
			},
		}, {
			name:  "hard links become files of their own",
			after: []item{{Path: "a", Content: "x"}, {Path: "b", Link: "a"}},
			want: []any{
				tbdiff.FileCreate{Name: "a", Mode: file, Size: 1}, payload("x"),
				tbdiff.FileCreate{Name: "b", Mode: file, Size: 1}, payload("x"),
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			origin, target := treetest.New(t, test.before...), treetest.New(t, test.after...)
			must(t, os.Chmod(target, 0o711)) // the tops' own metadata do not count
			stream := create(t, origin, target)
			if diff := cmp.Diff(test.want, commands(t, stream)); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
			deploy(t, stream, origin)
			wantSame(t, origin, target)
		})
	}
}

func TestUnsupported(t *testing.T) {
	big := func(t *testing.T, top string) {
		must(t, os.WriteFile(filepath.Join(top, "d", "big"), nil, 0o600))
		must(t, os.Truncate(filepath.Join(top, "d", "big"), 4<<30))
	}
	tests := []struct {
		name string
		make func(t *testing.T, top string)
		path string
		want string
	}{
		{"socket", func(t *testing.T, top string) {
			treetest.Build(t, top, []item{{Path: "d/s", Mode: treetest.Sock}})
		}, "d/s", "socket"},
		{"file of 4 GiB", big, "d/big", "4294967296 bytes"},
		{"symbolic link with attributes", func(t *testing.T, top string) {
			treetest.Build(t, top, []item{{Path: "d/l", Mode: treetest.Lnk, Target: "t", Xattrs: xattrs("trusted.a", "1")}})
		}, "d/l", "trusted.a"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			origin, target := treetest.New(t), treetest.New(t, item{Path: "d", Mode: dir})
			test.make(t, target)
			_, err := delta.Create(t.Context(), io.Discard, origin, target, delta.Options{})
			for _, err := range []error{err, delta.Check(t.Context(), origin, target)} {
				var unsupported *delta.UnsupportedError
				if !errors.As(err, &unsupported) || unsupported.Path != test.path || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error is %v, want one about %s that says %q", err, test.path, test.want)
				}
			}
		})
	}
}

// TestLargestOrigin is as large as the offsets of a delta reach.
func TestLargestOrigin(t *testing.T) {
	origin, target := treetest.New(t, item{Path: "f"}), treetest.New(t, item{Path: "f", Content: "new"})
	must(t, os.Truncate(filepath.Join(origin, "f"), 4<<30-1))
	must(t, os.Chtimes(filepath.Join(origin, "f"), time.Unix(0, 0), time.Unix(0, 0)))
	want := []any{tbdiff.FileDelta{Name: "f", Mode: file, End: 4<<30 - 1, Size: 3}, payload("new")}
	if diff := cmp.Diff(want, commands(t, create(t, origin, target))); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

// TestLargeOrigin has an origin that offsets of a delta could not reach the end of.
func TestLargeOrigin(t *testing.T) {
	origin, target := treetest.New(t, item{Path: "f"}), treetest.New(t, item{Path: "f", Content: "small"})
	must(t, os.Truncate(filepath.Join(origin, "f"), 5<<30))
	want := []any{tbdiff.EntityDelete{Name: "f"}, tbdiff.FileCreate{Name: "f", Mode: file, Size: 5}, payload("small")}
	if diff := cmp.Diff(want, commands(t, create(t, origin, target))); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

// TestSharedInodes has a target that is a farm of hard links to the origin, as cheap
// copies of releases are: what is one inode is the same.
func TestSharedInodes(t *testing.T) {
	origin, target := treetest.New(t, item{Path: "a", Content: "x"}, item{Path: "b", Content: "y"}), t.TempDir()
	must(t, os.Link(filepath.Join(origin, "a"), filepath.Join(target, "a")))
	treetest.Build(t, target, []item{{Path: "b", Content: "z"}})
	want := []any{tbdiff.FileDelta{Name: "b", Mode: file, End: 1, Size: 1}, payload("z")}
	if diff := cmp.Diff(want, commands(t, create(t, origin, target))); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

func TestTopWithDefaultACL(t *testing.T) {
	origin, target := treetest.New(t), treetest.New(t, item{Path: "f"})
	must(t, unix.Lsetxattr(origin, "system.posix_acl_default", []byte(acl), 0))
	stream := create(t, origin, target)
	want := []any{tbdiff.FileCreate{Name: "f", Mode: file}, attributes("f")}
	if diff := cmp.Diff(want, commands(t, stream)); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	deploy(t, stream, origin)
	wantSame(t, origin, target)
}

// writerFunc is called with what is written.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestFileThatChangesMeanwhile(t *testing.T) {
	target := treetest.New(t, item{Path: "d", Mode: dir}, item{Path: "d/f", Content: strings.Repeat("x", 3<<20)})
	growing := writerFunc(func(p []byte) (int, error) {
		f, err := os.OpenFile(filepath.Join(target, "d", "f"), os.O_WRONLY|os.O_APPEND, 0)
		must(t, err)
		defer f.Close()
		_, err = f.WriteString("more")
		return len(p), err
	})
	_, err := delta.Create(t.Context(), growing, t.TempDir(), target, delta.Options{})
	var changed *tree.ChangedError
	if !errors.As(err, &changed) || changed.Path != "d/f" {
		t.Errorf("error is %v, want a ChangedError about d/f", err)
	}
}

func TestMissingTrees(t *testing.T) {
	there, missing := t.TempDir(), filepath.Join(t.TempDir(), "missing")
	for want, pair := range map[string][2]string{"origin": {missing, there}, "target": {there, missing}} {
		_, err := delta.Create(t.Context(), io.Discard, pair[0], pair[1], delta.Options{})
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one that there is no %s", err, want)
		}
	}
}
