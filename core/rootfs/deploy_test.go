package rootfs_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

func mustDeploy(t testing.TB, dir string, steps ...any) rootfs.Stats {
	t.Helper()
	stats, err := deploy(dir, stream(t, steps...))
	must(t, err)
	return stats
}

func write(t testing.TB, path, data string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(data), 0o644))
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

func lstat(t testing.TB, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st
}

// What every command makes, in the metadata that the format has.
func TestDeployCreates(t *testing.T) {
	root := t.TempDir()
	longAgo := uint64(1<<64 - 1000) // a thousand seconds before 1970
	stats := mustDeploy(t, root,
		tbdiff.DirCreate{Name: "d", Mtime: 5, UID: 1, GID: 2, Mode: unix.S_IFDIR | 0o3751},
		tbdiff.DirEnter{Name: "d"},
		tbdiff.FileCreate{Name: "setuid", Mtime: longAgo, UID: 3, GID: 4, Mode: unix.S_IFREG | 0o6711}, content("hello"),
		tbdiff.DirCreate{Name: "inner", Mtime: 7, Mode: directory},
		tbdiff.DirLeave{Mtime: 6},
		tbdiff.FileCreate{Name: "empty", Mode: unix.S_IFREG},
		tbdiff.SymlinkCreate{Name: "l", Mtime: 8, UID: 5, GID: 6, Target: "/no/where"},
		tbdiff.SpecialCreate{Name: "b", Mtime: 9, Mode: unix.S_IFBLK | 0o640, UID: 7, GID: 8, Rdev: uint32(unix.Mkdev(259, 70000))},
		tbdiff.SpecialCreate{Name: "c", Mode: unix.S_IFCHR | 0o4666, Rdev: uint32(unix.Mkdev(1, 3))},
		tbdiff.SpecialCreate{Name: "p", Mode: unix.S_IFIFO | 0o622, UID: 9},
	)
	want := []item{
		{Path: "b", Mode: "60640", UID: 7, GID: 8, Mtime: 9, Rdev: []uint32{259, 70000}},
		{Path: "c", Mode: "24666", Rdev: []uint32{1, 3}},
		{Path: "d", Mode: "43751", UID: 1, GID: 2, Mtime: 6},
		{Path: "d/inner", Mode: "40700", Mtime: 7},
		{Path: "d/setuid", Mode: "106711", UID: 3, GID: 4, Mtime: -1000, Size: 5, SHA256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"},
		{Path: "empty", Mode: "100000", SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{Path: "l", Mode: "120777", UID: 5, GID: 6, Mtime: 8, Target: "/no/where"},
		{Path: "p", Mode: "10622", UID: 9},
	}
	if diff := cmp.Diff(want, describe(t, root)); diff != "" {
		t.Errorf("tree differs (-want +got):\n%s", diff)
	}
	if stats.Commands != 12 || stats.NewBytes != 5 {
		t.Errorf("stats are %+v, want 12 commands and 5 new bytes", stats)
	}
}

func TestDeployMetadata(t *testing.T) {
	tests := []struct {
		name    string
		command tbdiff.Command
		want    item
	}{
		{"file, all", tbdiff.FileMetadata{Name: "f", Mask: 15, Mtime: 9, UID: 8, GID: 7, Mode: unix.S_IFREG | 0o4755}, item{Mode: "104755", UID: 8, GID: 7, Mtime: 9}},
		{"file, mode without its bit", tbdiff.FileMetadata{Name: "f", Mtime: 9, UID: 8, GID: 7, Mode: unix.S_IFREG | 0o600}, item{Mode: "100600", UID: 1, GID: 2, Mtime: 3}},
		{"file, uid only", tbdiff.FileMetadata{Name: "f", Mask: tbdiff.MaskUID, Mtime: 9, UID: 8, GID: 7, Mode: unix.S_IFREG | 0o644}, item{Mode: "100644", UID: 8, GID: 2, Mtime: 3}},
		{"file, gid only", tbdiff.FileMetadata{Name: "f", Mask: tbdiff.MaskGID, Mtime: 9, UID: 8, GID: 7, Mode: unix.S_IFREG | 0o644}, item{Mode: "100644", UID: 1, GID: 7, Mtime: 3}},
		{"file, mtime only", tbdiff.FileMetadata{Name: "f", Mask: tbdiff.MaskMtime, Mtime: 9, UID: 8, GID: 7, Mode: unix.S_IFREG | 0o644}, item{Mode: "100644", UID: 1, GID: 2, Mtime: 9}},
		{"directory, all", tbdiff.DirDelta{Name: "d", Mask: 15, Mtime: 9, UID: 8, GID: 7, Mode: unix.S_IFDIR | 0o1777}, item{Mode: "41777", UID: 8, GID: 7, Mtime: 9}},
		{"directory, mode without its bit", tbdiff.DirDelta{Name: "d", Mtime: 9, UID: 8, GID: 7, Mode: unix.S_IFDIR | 0o700}, item{Mode: "40700", UID: 1, GID: 2, Mtime: 3}},
		{"delta, mask ignored", tbdiff.FileDelta{Name: "f", Mtime: 9, UID: 8, GID: 7, Mode: unix.S_IFREG | 0o2755}, item{Mode: "102755", UID: 8, GID: 7, Mtime: 9}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root+"/f", "")
			must(t, os.Mkdir(root+"/d", 0o755))
			for _, p := range []string{root + "/f", root + "/d"} {
				must(t, os.Chown(p, 1, 2))
				must(t, unix.Utimes(p, []unix.Timeval{{Sec: 3}, {Sec: 3}}))
			}
			mustDeploy(t, root, test.command)
			for _, got := range describe(t, root) {
				if strings.HasPrefix(test.want.Mode, "4") == (got.Path == "d") {
					test.want.Path, test.want.SHA256 = got.Path, got.SHA256
					if diff := cmp.Diff(test.want, got); diff != "" {
						t.Errorf("entry differs (-want +got):\n%s", diff)
					}
				}
			}
		})
	}
}

// A directory that is changed and entered has the time of its DIR_LEAVE, also when
// things in it came and went.
func TestDeployDirectoryTimes(t *testing.T) {
	root := t.TempDir()
	must(t, os.MkdirAll(root+"/a/b/gone/deep", 0o755))
	mustDeploy(t, root,
		tbdiff.DirDelta{Name: "a", Mask: 15, Mtime: 100, Mode: directory},
		tbdiff.DirEnter{Name: "a"},
		tbdiff.DirEnter{Name: "b"},
		tbdiff.EntityDelete{Name: "gone"},
		tbdiff.FileCreate{Name: "new", Mode: plain, Mtime: 1},
		tbdiff.DirLeave{Mtime: 200},
		tbdiff.DirLeave{Mtime: 300},
	)
	for path, want := range map[string]int64{"a": 300, "a/b": 200, "a/b/new": 1} {
		if got := int64(lstat(t, filepath.Join(root, path)).Mtim.Sec); got != want {
			t.Errorf("time of %s is %d, want %d", path, got, want)
		}
	}
}

// v0 knows no hard links: what happens to one name happens to no other.
func TestDeploySeparatesHardLinks(t *testing.T) {
	attribute := []tbdiff.Xattr{{Name: "user.k", Value: []byte("v")}}
	tests := []struct {
		name     string
		command  []any
		content  string // of the changed name afterwards
		separate bool
	}{
		{"delta", []any{tbdiff.FileDelta{Name: "one", Mode: plain, Mtime: 9, UID: 1, Start: 1, End: 2}, content("XX")}, "oXXd", true},
		{"metadata", []any{tbdiff.FileMetadata{Name: "one", Mode: plain, UID: 1, Mask: 15}}, "old", true},
		{"mode only", []any{tbdiff.FileMetadata{Name: "one", Mode: unix.S_IFREG | 0o400, Mask: tbdiff.MaskMode}}, "old", true},
		{"attributes", []any{tbdiff.XattrsUpdate{Name: "one", Attributes: []tbdiff.Xattr{{Name: "user.other"}}}}, "old", true},
		{"no attributes", []any{tbdiff.XattrsUpdate{Name: "one"}}, "old", true},
		{"the same attributes", []any{tbdiff.XattrsUpdate{Name: "one", Attributes: attribute}}, "old", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root+"/two", "old")
			must(t, os.Link(root+"/two", root+"/one"))
			must(t, unix.Setxattr(root+"/two", "user.k", []byte("v"), 0))
			must(t, unix.UtimesNanoAt(unix.AT_FDCWD, root+"/two", []unix.Timespec{{Sec: 4, Nsec: 5}, {Sec: 6, Nsec: 7}}, 0))
			before := describeOne(t, root, root+"/two")
			mustDeploy(t, root, test.command...)
			if diff := cmp.Diff(before, describeOne(t, root, root+"/two")); diff != "" {
				t.Errorf("the other name changed (-before +after):\n%s", diff)
			}
			if got := read(t, root+"/one"); got != test.content {
				t.Errorf("content is %q, want %q", got, test.content)
			}
			if got := lstat(t, root+"/one").Nlink == 1; got != test.separate {
				t.Errorf("separate file: %v, want %v", got, test.separate)
			}
		})
	}
}

// A separated name keeps all that the command does not change, to the nanosecond.
func TestDeploySeparatedKeepsTheRest(t *testing.T) {
	root := t.TempDir()
	write(t, root+"/two", "old")
	must(t, os.Link(root+"/two", root+"/one"))
	must(t, unix.Setxattr(root+"/two", "user.k", []byte("v"), 0))
	must(t, os.Chown(root+"/two", 3, 4))
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, root+"/two", []unix.Timespec{{Sec: 4, Nsec: 5}, {Sec: 6, Nsec: 7}}, 0))
	want := describeOne(t, root, root+"/one")
	mustDeploy(t, root, tbdiff.FileMetadata{Name: "one", Mode: unix.S_IFREG | 0o4444, Mask: tbdiff.MaskMode})
	want.Mode = "104444"
	if diff := cmp.Diff(want, describeOne(t, root, root+"/one")); diff != "" {
		t.Errorf("entry differs (-want +got):\n%s", diff)
	}
	if got := lstat(t, root+"/one").Mtim; got != (unix.Timespec{Sec: 6, Nsec: 7}) {
		t.Errorf("time is %v, want 6s 7ns", got)
	}
}

func TestDeployXattrs(t *testing.T) {
	// Version 2 of the file capability, cap_net_raw=ep (linux/capability.h).
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	root := t.TempDir()
	for _, name := range []string{"replace", "clear", "delta", "owner"} {
		write(t, root+"/"+name, "x")
		must(t, unix.Setxattr(root+"/"+name, "user.old", []byte("o"), 0))
		must(t, unix.Setxattr(root+"/"+name, "security.capability", []byte(capability), 0))
	}
	must(t, os.Mkdir(root+"/d", 0o755))
	big := strings.Repeat("b", 3000)
	mustDeploy(t, root,
		tbdiff.XattrsUpdate{Name: "replace", Attributes: []tbdiff.Xattr{{Name: "user.big", Value: []byte(big)}, {Name: "user.empty", Value: []byte{}}}},
		tbdiff.XattrsUpdate{Name: "clear"},
		tbdiff.FileDelta{Name: "delta", Mode: plain},
		tbdiff.FileMetadata{Name: "owner", Mode: unix.S_IFREG | 0o755, Mask: tbdiff.MaskUID, UID: 5},
		tbdiff.XattrsUpdate{Name: "d", Attributes: []tbdiff.Xattr{{Name: "user.dir", Value: []byte("yes")}}},
	)
	want := map[string]map[string]string{
		"replace": {"user.big": fmt.Sprintf("%x", big), "user.empty": ""},
		"clear":   nil,
		"delta":   nil,
		"owner":   {"user.old": "6f", "security.capability": fmt.Sprintf("%x", capability)},
		"d":       {"user.dir": "796573"},
	}
	for name, attributes := range want {
		if diff := cmp.Diff(attributes, xattrs(t, root+"/"+name)); diff != "" {
			t.Errorf("attributes of %s differ (-want +got):\n%s", name, diff)
		}
	}
}

// A directory with a default access control list hands it to all that is made in it.
// What a stream makes has what the stream says.
func TestDeployDropsInheritedACL(t *testing.T) {
	root := t.TempDir()
	run(t, "setfacl", "-m", "d:u:7:rwx", root)
	mustDeploy(t, root,
		tbdiff.FileCreate{Name: "f", Mode: unix.S_IFREG | 0o640}, content("x"),
		tbdiff.DirCreate{Name: "d", Mode: unix.S_IFDIR | 0o750},
		tbdiff.SpecialCreate{Name: "p", Mode: unix.S_IFIFO | 0o600},
	)
	for name, mode := range map[string]string{"f": "100640", "d": "40750", "p": "10600"} {
		got := describeOne(t, root, filepath.Join(root, name))
		if got.Mode != mode || got.Xattrs != nil {
			t.Errorf("%s has mode %s and attributes %v, want %s and none", name, got.Mode, got.Xattrs, mode)
		}
	}
}

// Sockets are not created, and deleting one is fine.
func TestDeploySockets(t *testing.T) {
	root := t.TempDir()
	l, err := net.Listen("unix", root+"/old")
	must(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	must(t, l.Close())
	// The Writer refuses sockets: make one of a FIFO.
	b := stream(t, tbdiff.SpecialCreate{Name: "new", Mode: unix.S_IFIFO | 0o755}, tbdiff.EntityDelete{Name: "old"})
	b = bytes.Replace(b, []byte{0xed, 0x11, 0, 0}, []byte{0xed, 0xc1, 0, 0}, 1)
	stats, err := deploy(root, b)
	must(t, err)
	if left := describe(t, root); len(left) > 0 || stats.Sockets != 1 {
		t.Errorf("left %v with %d sockets passed over, want nothing and 1", left, stats.Sockets)
	}
}
