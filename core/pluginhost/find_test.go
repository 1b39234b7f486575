package pluginhost_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/pluginhost"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// write makes a file with a mode, whatever the umask is.
func write(t *testing.T, path string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/false\n"), mode); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, mode)
	return path
}

func mkdir(t *testing.T, path string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, mode)
	return path
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func chown(t *testing.T, path string, uid int) {
	t.Helper()
	if err := os.Lchown(path, uid, 0); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, path string) string {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFind(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	empty, one, two := mkdir(t, top+"/empty", 0o755), mkdir(t, top+"/one", 0o755), mkdir(t, top+"/two", 0o755)
	write(t, two+"/tbupdate-fs-btrfs", 0o755)
	write(t, one+"/tbupdate-boot-extboot", 0o755)
	write(t, one+"/tbupdate-fs-btrfs~", 0o755)
	for name, test := range map[string]struct {
		spec pluginhost.Spec
		want string
		err  string
	}{
		"in the second directory": {spec: pluginhost.Spec{Kind: "fs", Name: "btrfs", Directories: []string{one, two}}, want: two + "/tbupdate-fs-btrfs"},
		"explicit":                {spec: pluginhost.Spec{Kind: "fs", Name: "btrfs", Directories: []string{two}, Program: "/opt/mine"}, want: "/opt/mine"},
		"explicit, relative":      {spec: pluginhost.Spec{Kind: "fs", Name: "btrfs", Program: "./mine"}, err: `plugin fs-btrfs (./mine) is not named by an absolute path`},
		"missing":                 {spec: pluginhost.Spec{Kind: "fs", Name: "zfs", Directories: []string{one, two}}, err: `plugin fs-zfs is not there: searched for tbupdate-fs-zfs in TOP/one, TOP/two, which hold boot-extboot, fs-btrfs`},
		"empty directories":       {spec: pluginhost.Spec{Kind: "fs", Name: "zfs", Directories: []string{empty, top + "/nothing"}}, err: `plugin fs-zfs is not there: searched for tbupdate-fs-zfs in TOP/empty, TOP/nothing, which hold no plugins`},
		"no directories":          {spec: pluginhost.Spec{Kind: "fs", Name: "zfs"}, err: `plugin fs-zfs is not there: no plugin directories are configured`},
		"relative directory":      {spec: pluginhost.Spec{Kind: "fs", Name: "zfs", Directories: []string{"plugins"}}, err: `plugin fs-zfs cannot be searched in "plugins", which is not an absolute path`},
		"a name that is a way":    {spec: pluginhost.Spec{Kind: "fs", Name: "../../bin/sh", Directories: []string{one}}, err: `plugin fs-../../bin/sh has no valid name: the kind is fs or boot, the name is made of "a" to "z", "0" to "9" and "-"`},
		"another kind":            {spec: pluginhost.Spec{Kind: "net", Name: "a", Directories: []string{one}}, err: `plugin net-a has no valid name: the kind is fs or boot, the name is made of "a" to "z", "0" to "9" and "-"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := pluginhost.Find(test.spec)
			text := ""
			if err != nil {
				text = strings.ReplaceAll(err.Error(), top, "TOP")
			}
			if diff := cmp.Diff([]string{test.want, test.err}, []string{got, text}); diff != "" {
				t.Errorf("path, error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	one, two := mkdir(t, top+"/one", 0o755), mkdir(t, top+"/two", 0o755)
	for _, name := range []string{
		"tbupdate-fs-zfs", "tbupdate-boot-a-1", // plugins
		"tbupdate-fs-zfs~", "tbupdate-fs-zfs.dpkg-old", "tbupdate-fs-", "tbupdate-fs-Z", "tbupdate-fs--x", "tbupdate-net-a", "tbupdate", "xtbupdate-fs-a", "tbupdate-fs-a\n",
	} {
		write(t, filepath.Join(one, name), 0o755)
	}
	write(t, two+"/tbupdate-fs-zfs", 0o755)
	write(t, two+"/tbupdate-fs-plain", 0o644)
	write(t, two+"/tbupdate-fs-open", 0o775)
	mkdir(t, two+"/tbupdate-fs-folder", 0o755)
	symlink(t, "/nowhere", two+"/tbupdate-fs-link")
	var got []string
	for _, f := range pluginhost.List([]string{one, top + "/nothing", two}) {
		got = append(got, strings.ReplaceAll(fmt.Sprintf("%s %s %s: %v", f.Kind, f.Name, f.Path, f.Problem), top, "TOP"))
	}
	want := []string{
		"boot a-1 TOP/one/tbupdate-boot-a-1: <nil>",
		"fs zfs TOP/one/tbupdate-fs-zfs: <nil>",
		"fs folder TOP/two/tbupdate-fs-folder: is a directory: TOP/two/tbupdate-fs-folder",
		"fs link TOP/two/tbupdate-fs-link: is not there: /nowhere does not exist",
		"fs open TOP/two/tbupdate-fs-open: is not trusted: others than root may write to TOP/two/tbupdate-fs-open (mode 0775)",
		"fs plain TOP/two/tbupdate-fs-plain: is not executable: TOP/two/tbupdate-fs-plain has mode 0644",
		"fs zfs TOP/two/tbupdate-fs-zfs: is hidden by TOP/one/tbupdate-fs-zfs",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
}

// TestTrust lists places of a program and whether it would be run from there.
func TestTrust(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		place func(t *testing.T, top string) (program string)
		want  string // "" where it may be run
	}{
		{"root's own", func(t *testing.T, top string) string {
			return write(t, top+"/p", 0o755)
		}, ""},
		{"not executable", func(t *testing.T, top string) string {
			return write(t, top+"/p", 0o644)
		}, "is not executable: TOP/p has mode 0644"},
		{"missing", func(t *testing.T, top string) string { return top + "/p" }, "is not there: TOP/p does not exist"},
		{"below a file", func(t *testing.T, top string) string {
			return write(t, top+"/p", 0o755) + "/p"
		}, "is not there: TOP/p is not a directory"},
		{"a directory", func(t *testing.T, top string) string { return top }, "is a directory: TOP"},
		{"a pipe", func(t *testing.T, top string) string {
			if err := syscall.Mkfifo(top+"/p", 0o755); err != nil {
				t.Fatal(err)
			}
			return top + "/p"
		}, "is not a plain file: TOP/p"},
		{"somebody else's", func(t *testing.T, top string) string {
			write(t, top+"/p", 0o755)
			chown(t, top+"/p", 1000)
			return top + "/p"
		}, "is not trusted: TOP/p belongs to user 1000 and not to root"},
		{"writable by its group", func(t *testing.T, top string) string {
			return write(t, top+"/p", 0o775)
		}, "is not trusted: others than root may write to TOP/p (mode 0775)"},
		{"writable by all", func(t *testing.T, top string) string {
			return write(t, top+"/p", 0o757)
		}, "is not trusted: others than root may write to TOP/p (mode 0757)"},
		{"somebody else's directory", func(t *testing.T, top string) string {
			chown(t, mkdir(t, top+"/d", 0o755), 1000)
			return write(t, top+"/d/p", 0o755)
		}, "is not trusted: TOP/d belongs to user 1000 and not to root"},
		{"somebody else's directory above", func(t *testing.T, top string) string {
			mkdir(t, top+"/d/e", 0o755)
			chown(t, top+"/d", 1000)
			return write(t, top+"/d/e/p", 0o755)
		}, "is not trusted: TOP/d belongs to user 1000 and not to root"},
		{"directory that all may write to", func(t *testing.T, top string) string {
			mkdir(t, top+"/d", 0o777)
			return write(t, top+"/d/p", 0o755)
		}, "is not trusted: others than root may write to TOP/d (mode 0777)"},
		{"directly in a sticky directory", func(t *testing.T, top string) string {
			mkdir(t, top+"/d", os.ModeSticky|0o777)
			return write(t, top+"/d/p", 0o755)
		}, "is not trusted: everybody may write to TOP/d, where it is; only a directory of root's is safe there"},
		{"in root's directory in a sticky one", func(t *testing.T, top string) string {
			mkdir(t, top+"/d", os.ModeSticky|0o777)
			mkdir(t, top+"/d/e", 0o755)
			return write(t, top+"/d/e/p", 0o755)
		}, ""},
		{"in another's directory in a sticky one", func(t *testing.T, top string) string {
			mkdir(t, top+"/d", os.ModeSticky|0o777)
			chown(t, mkdir(t, top+"/d/e", 0o755), 1000)
			return write(t, top+"/d/e/p", 0o755)
		}, "is not trusted: TOP/d/e belongs to user 1000 and not to root"},
		{"through a link of root's", func(t *testing.T, top string) string {
			write(t, mkdir(t, top+"/d", 0o755)+"/p", 0o755)
			symlink(t, "./d/../d", top+"/l")
			symlink(t, top+"/l/p", top+"/m")
			return top + "/m"
		}, ""},
		{"through a link into another's directory", func(t *testing.T, top string) string {
			write(t, mkdir(t, top+"/d", 0o755)+"/p", 0o755)
			chown(t, top+"/d", 1000)
			return symlink(t, "d/p", top+"/l")
		}, "is not trusted: TOP/d belongs to user 1000 and not to root"},
		{"through another's link", func(t *testing.T, top string) string {
			write(t, top+"/p", 0o755)
			chown(t, symlink(t, "p", top+"/l"), 1000)
			return top + "/l"
		}, "is not trusted: TOP/l belongs to user 1000 and not to root"},
		{"through a link in a sticky directory", func(t *testing.T, top string) string {
			write(t, top+"/p", 0o755)
			mkdir(t, top+"/d", os.ModeSticky|0o777)
			return symlink(t, top+"/p", top+"/d/l")
		}, "is not trusted: everybody may write to TOP/d, where it is; only a directory of root's is safe there"},
		{"through a link to itself", func(t *testing.T, top string) string {
			return symlink(t, "l", top+"/l")
		}, "cannot be opened: TOP/l: too many levels of symbolic links"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			program := test.place(t, top)
			_, err := pluginhost.Start(t.Context(), pluginhost.Spec{Kind: sdk.KindFS, Name: "p", Program: program, RunDirectory: runDirectory(t)})
			want := "plugin fs-p (" + program + ") " + test.want
			if test.want == "" { // it was run: a script that exits at once
				want = "plugin fs-p (" + program + ") exited before it was ready (exit status 1)"
			}
			if diff := cmp.Diff(strings.ReplaceAll(want, top, "TOP"), strings.ReplaceAll(fmt.Sprint(err), top, "TOP")); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestChecksum(t *testing.T) {
	t.Parallel()
	s := spec(t, sdk.KindFS, "good")
	data, err := os.ReadFile(filepath.Join(s.Directories[0], "tbupdate-fs-good"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	s.SHA256 = strings.ToUpper(hex.EncodeToString(sum[:]))
	start(t, s)
	s.SHA256 = strings.Repeat("0", 64)
	_, err = pluginhost.Start(t.Context(), s)
	want := "plugin fs-good (PROGRAM) is not trusted: its SHA-256 is " + hex.EncodeToString(sum[:]) + ", the configuration demands " + s.SHA256
	if diff := cmp.Diff(want, message(err, filepath.Join(s.Directories[0], "tbupdate-fs-good"))); diff != "" || !errors.Is(err, pluginhost.ErrUntrusted) {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// TestNotAProgram: a file that the kernel cannot execute.
func TestNotAProgram(t *testing.T) {
	t.Parallel()
	program := write(t, t.TempDir()+"/p", 0o755)
	if err := os.WriteFile(program, []byte("\x7fELF but not really"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := pluginhost.Start(t.Context(), pluginhost.Spec{Kind: sdk.KindFS, Name: "p", Program: program, RunDirectory: runDirectory(t)})
	want := "plugin fs-p (PROGRAM) cannot be executed: exec format error"
	if diff := cmp.Diff(want, message(err, program)); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestLongRunDirectory(t *testing.T) {
	t.Parallel()
	s := spec(t, sdk.KindFS, "good")
	s.RunDirectory = mkdir(t, filepath.Join(s.RunDirectory, strings.Repeat("x", 60)), 0o700)
	_, err := pluginhost.Start(t.Context(), s)
	want := "plugin fs-good (PROGRAM) cannot be started: cannot make a socket in " + s.RunDirectory + ": the path is longer than 60 bytes"
	if diff := cmp.Diff(want, message(err, filepath.Join(s.Directories[0], "tbupdate-fs-good"))); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}
