package rootfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// jail is a tree to deploy into with a canary beside it.
type jail struct{ root, outside string }

func newJail(t testing.TB) jail {
	t.Helper()
	dir := t.TempDir()
	j := jail{root: filepath.Join(dir, "tree"), outside: filepath.Join(dir, "outside")}
	for _, d := range []string{j.root, j.outside, j.root + "/dir", j.outside + "/dir"} {
		must(t, os.Mkdir(d, 0o755))
	}
	for _, f := range []string{j.root + "/file", j.root + "/dir/inner", j.outside + "/file", j.outside + "/dir/inner"} {
		must(t, os.WriteFile(f, []byte("0123456789"), 0o644))
	}
	must(t, unix.Setxattr(j.outside+"/file", "user.canary", []byte("alive"), 0))
	must(t, os.Symlink(j.outside+"/dir", j.root+"/absolute"))
	must(t, os.Symlink("../outside/dir", j.root+"/relative"))
	must(t, os.Symlink("dir", j.root+"/inside"))
	must(t, os.Symlink("../outside/file", j.root+"/filelink"))
	must(t, os.Symlink("file", j.root+"/insidelink"))
	must(t, os.Symlink("../outside/new", j.root+"/dangling"))
	must(t, unix.Mkfifo(j.root+"/fifo", 0o600))
	// No driver has this number: opening it would give ENXIO.
	must(t, unix.Mknod(j.root+"/device", unix.S_IFCHR|0o600, int(unix.Mkdev(240, 77))))
	return j
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	plain     = unix.S_IFREG | 0o600
	directory = unix.S_IFDIR | 0o700
)

func TestDeployRefuses(t *testing.T) {
	tests := []struct {
		name  string
		steps []any
		want  error
		path  string // that the error names
		text  string // that the error contains
	}{
		{"enter absolute link", []any{tbdiff.DirEnter{Name: "absolute"}, tbdiff.EntityDelete{Name: "inner"}, tbdiff.DirLeave{}}, tbdiff.ErrUnsafe, "absolute", "symbolic link"},
		{"enter relative link", []any{tbdiff.DirEnter{Name: "relative"}, tbdiff.EntityDelete{Name: "inner"}, tbdiff.DirLeave{}}, tbdiff.ErrUnsafe, "relative", "symbolic link"},
		{"enter link to a directory inside", []any{tbdiff.DirEnter{Name: "inside"}, tbdiff.DirLeave{}}, tbdiff.ErrUnsafe, "inside", "symbolic link"},
		{"enter link to a file", []any{tbdiff.DirEnter{Name: "filelink"}, tbdiff.DirLeave{}}, tbdiff.ErrUnsafe, "filelink", "symbolic link"},
		{"enter link made by the stream", []any{tbdiff.SymlinkCreate{Name: "way", Target: "../outside"}, tbdiff.DirEnter{Name: "way"}, tbdiff.DirLeave{}}, tbdiff.ErrUnsafe, "way", "symbolic link"},
		{"enter directory replaced by a link", []any{tbdiff.EntityDelete{Name: "dir"}, tbdiff.SymlinkCreate{Name: "dir", Target: "../outside"}, tbdiff.DirEnter{Name: "dir"}, tbdiff.DirLeave{}}, tbdiff.ErrUnsafe, "dir", "symbolic link"},
		{"enter file", []any{tbdiff.DirEnter{Name: "file"}, tbdiff.DirLeave{}}, rootfs.ErrOriginMismatch, "file", "not a directory"},
		{"enter FIFO", []any{tbdiff.DirEnter{Name: "fifo"}, tbdiff.DirLeave{}}, rootfs.ErrOriginMismatch, "fifo", "not a directory"},
		{"enter nothing", []any{tbdiff.DirEnter{Name: "no\nsuch"}, tbdiff.DirLeave{}}, rootfs.ErrOriginMismatch, "no\nsuch", `"no\nsuch"`},

		{"delta through link", []any{tbdiff.FileDelta{Name: "filelink", Mode: plain, End: 10}}, tbdiff.ErrUnsafe, "filelink", "symbolic link"},
		{"delta through link inside", []any{tbdiff.FileDelta{Name: "insidelink", Mode: plain, End: 10}}, tbdiff.ErrUnsafe, "insidelink", "symbolic link"},
		{"delta through dangling link", []any{tbdiff.FileDelta{Name: "dangling", Mode: plain}, content("x")}, tbdiff.ErrUnsafe, "dangling", "symbolic link"},
		{"delta of directory", []any{tbdiff.FileDelta{Name: "dir", Mode: plain}}, rootfs.ErrOriginMismatch, "dir", "there is a directory, not a plain file"},
		{"delta of FIFO", []any{tbdiff.FileDelta{Name: "fifo", Mode: plain}}, rootfs.ErrOriginMismatch, "fifo", "there is a FIFO"},
		{"delta of device", []any{tbdiff.FileDelta{Name: "device", Mode: plain}}, rootfs.ErrOriginMismatch, "device", "there is a character device"},
		{"delta of nothing", []any{tbdiff.FileDelta{Name: "none", Mode: plain}}, rootfs.ErrOriginMismatch, "none", "no such file"},
		{"delta beyond the file", []any{tbdiff.FileDelta{Name: "file", Mode: plain, Start: 4, End: 11}}, rootfs.ErrOriginMismatch, "file", "10 bytes"},
		{"delta far beyond the file", []any{tbdiff.FileDelta{Name: "file", Mode: plain, Start: 1<<32 - 1, End: 1<<32 - 1}}, rootfs.ErrOriginMismatch, "file", "10 bytes"},

		{"metadata through link", []any{tbdiff.FileMetadata{Name: "filelink", Mask: 15, Mode: plain, UID: 5}}, tbdiff.ErrUnsafe, "filelink", "symbolic link"},
		{"metadata of FIFO", []any{tbdiff.FileMetadata{Name: "fifo", Mask: 15, Mode: plain}}, rootfs.ErrOriginMismatch, "fifo", "there is a FIFO"},
		{"metadata of device", []any{tbdiff.FileMetadata{Name: "device", Mask: 15, Mode: plain}}, rootfs.ErrOriginMismatch, "device", "there is a character device"},
		{"directory metadata through link", []any{tbdiff.DirDelta{Name: "relative", Mask: 15, Mode: directory, UID: 5}}, tbdiff.ErrUnsafe, "relative", "symbolic link"},
		{"directory metadata of file", []any{tbdiff.DirDelta{Name: "file", Mask: 15, Mode: directory}}, rootfs.ErrOriginMismatch, "file", "there is a plain file, not a directory"},

		{"attributes through link", []any{tbdiff.XattrsUpdate{Name: "filelink"}}, tbdiff.ErrUnsafe, "filelink", "symbolic link"},
		{"attributes through link, set", []any{tbdiff.XattrsUpdate{Name: "filelink", Attributes: []tbdiff.Xattr{{Name: "user.x", Value: []byte("y")}}}}, tbdiff.ErrUnsafe, "filelink", "symbolic link"},
		{"attributes of nothing", []any{tbdiff.XattrsUpdate{Name: "none"}}, rootfs.ErrOriginMismatch, "none", "no such file"},

		{"create over file", []any{tbdiff.FileCreate{Name: "file", Mode: plain}}, rootfs.ErrOriginMismatch, "file", "file exists"},
		{"create through link", []any{tbdiff.FileCreate{Name: "filelink", Mode: plain}, content("x")}, rootfs.ErrOriginMismatch, "filelink", "file exists"},
		{"create through dangling link", []any{tbdiff.FileCreate{Name: "dangling", Mode: plain}, content("x")}, rootfs.ErrOriginMismatch, "dangling", "file exists"},
		{"directory over link", []any{tbdiff.DirCreate{Name: "relative", Mode: directory}}, rootfs.ErrOriginMismatch, "relative", "file exists"},
		{"link over link", []any{tbdiff.SymlinkCreate{Name: "relative", Target: "x"}}, rootfs.ErrOriginMismatch, "relative", "file exists"},
		{"device over link", []any{tbdiff.SpecialCreate{Name: "dangling", Mode: unix.S_IFCHR}}, rootfs.ErrOriginMismatch, "dangling", "file exists"},
		{"delete nothing", []any{tbdiff.EntityDelete{Name: "none"}}, rootfs.ErrOriginMismatch, "none", "no such file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			j := newJail(t)
			before := describe(t, j.outside)
			_, err := deploy(j.root, stream(t, test.steps...))
			if !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
			var located *tbdiff.StreamError
			if !errors.As(err, &located) || located.Path != test.path || located.Number < 2 || located.Offset < 21 {
				t.Errorf("error %#v does not say where it arose", err)
			} else if !strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), located.Opcode.String()) {
				t.Errorf("error is %q, want it to hold %q", err, test.text)
			}
			if diff := cmp.Diff(before, describe(t, j.outside)); diff != "" {
				t.Errorf("something outside was touched (-before +after):\n%s", diff)
			}
			expectNoTemporaries(t, j.root)
		})
	}
}

func expectNoTemporaries(t testing.TB, root string) {
	t.Helper()
	for _, it := range describe(t, root) {
		if strings.Contains(it.Path, ".tbdiff-new-") {
			t.Errorf("%s was left behind", it.Path)
		}
	}
}

// Links are deleted, not what they lead to: by themselves and within a directory.
func TestDeleteDoesNotFollowLinks(t *testing.T) {
	j := newJail(t)
	must(t, os.Symlink(j.outside, j.root+"/dir/out"))
	must(t, os.Symlink("../../outside/file", j.root+"/dir/outfile"))
	before := describe(t, j.outside)
	var steps []any
	for _, name := range []string{"absolute", "relative", "inside", "filelink", "insidelink", "dangling", "dir", "fifo", "device", "file"} {
		steps = append(steps, tbdiff.EntityDelete{Name: name})
	}
	if _, err := deploy(j.root, stream(t, steps...)); err != nil {
		t.Fatal(err)
	}
	if left := describe(t, j.root); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if diff := cmp.Diff(before, describe(t, j.outside)); diff != "" {
		t.Errorf("something outside was touched (-before +after):\n%s", diff)
	}
}

// Nothing that is mounted in the tree is entered, changed or deleted.
func TestDeployRefusesMounts(t *testing.T) {
	tests := []struct {
		name  string
		steps []any
	}{
		{"enter", []any{tbdiff.DirEnter{Name: "dir"}, tbdiff.EntityDelete{Name: "inner"}, tbdiff.DirLeave{}}},
		{"directory metadata", []any{tbdiff.DirDelta{Name: "dir", Mode: directory}}},
		{"delete", []any{tbdiff.EntityDelete{Name: "dir"}}},
		{"delete from above", []any{tbdiff.EntityDelete{Name: "above"}}},
		{"delta", []any{tbdiff.FileDelta{Name: "file", Mode: plain, End: 10}}},
		{"metadata", []any{tbdiff.FileMetadata{Name: "file", Mode: plain}}},
		{"attributes", []any{tbdiff.XattrsUpdate{Name: "file", Attributes: []tbdiff.Xattr{{Name: "user.x"}}}}},
		{"delete file", []any{tbdiff.EntityDelete{Name: "file"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			j := newJail(t)
			must(t, os.MkdirAll(j.root+"/above/below/mounted", 0o755))
			bind(t, j.outside+"/dir", j.root+"/dir")
			bind(t, j.outside+"/dir", j.root+"/above/below/mounted")
			bind(t, j.outside+"/file", j.root+"/file")
			before := describe(t, j.outside)
			_, err := deploy(j.root, stream(t, test.steps...))
			if !errors.Is(err, tbdiff.ErrUnsafe) {
				t.Errorf("error is %v, want ErrUnsafe", err)
			}
			if diff := cmp.Diff(before, describe(t, j.outside)); diff != "" {
				t.Errorf("something mounted was touched (-before +after):\n%s", diff)
			}
		})
	}
}

func bind(t testing.TB, from, to string) {
	t.Helper()
	must(t, unix.Mount(from, to, "", unix.MS_BIND, ""))
	t.Cleanup(func() {
		if err := unix.Unmount(to, unix.MNT_DETACH); err != nil {
			t.Errorf("cannot unmount %s: %v", to, err)
		}
	})
}

// A tree may hold another filesystem without a mount point: a nested subvolume. What
// is in it belongs to somebody else. In a snapshot an empty directory stands there,
// with a device number of its own, which goes like any other.
func TestDeleteNestedSubvolume(t *testing.T) {
	top := loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs, Size: 256 << 20}).Mount(t)
	run(t, "btrfs", "subvolume", "create", top+"/root")
	must(t, os.MkdirAll(top+"/root/var/lib", 0o755))
	run(t, "btrfs", "subvolume", "create", top+"/root/var/lib/nested")
	write(t, top+"/root/var/lib/nested/data", "precious")
	run(t, "btrfs", "subvolume", "snapshot", top+"/root", top+"/new")

	b := stream(t, tbdiff.EntityDelete{Name: "var"})
	if _, err := deploy(top+"/root", b); !errors.Is(err, tbdiff.ErrUnsafe) || !strings.Contains(err.Error(), `"nested"`) {
		t.Errorf("error is %v, want ErrUnsafe with the name", err)
	}
	if got := read(t, top+"/root/var/lib/nested/data"); got != "precious" {
		t.Errorf("content is %q", got)
	}
	_, err := deploy(top+"/new", b)
	must(t, err)
	if left := describe(t, top+"/new"); len(left) > 0 {
		t.Errorf("left behind in the snapshot: %v", left)
	}
}
