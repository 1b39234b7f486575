package tree_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/core/tree/treetest"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// steps walks both trees and gives a line for each step; origin may be "".
func steps(t *testing.T, origin, target string) []string {
	t.Helper()
	var a *tree.Dir
	if origin != "" {
		a = open(t, origin)
	}
	var found []string
	err := tree.Walk(t.Context(), a, open(t, target), tree.Visitor[string]{
		Prepare: func(_ context.Context, _ *tree.Scratch, s *tree.Step[string]) error {
			s.Result = fmt.Sprint(s.Origin != nil, s.Target != nil)
			return nil
		},
		Visit: func(s *tree.Step[string]) error {
			word := map[tree.Move]string{tree.MoveEntry: "entry", tree.MoveLeave: "leave", tree.MoveGone: "gone"}[s.Move]
			found = append(found, strings.TrimSpace(fmt.Sprintf("%s %q %s", word, s.Path(), s.Result)))
			return nil
		},
	})
	must(t, err)
	return found
}

func open(t *testing.T, path string) *tree.Dir {
	t.Helper()
	d, err := tree.Open(path)
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

func TestWalkOrder(t *testing.T) {
	before := treetest.New(t, item{Path: "B"}, item{Path: "a", Mode: treetest.Dir}, item{Path: "a/z"}, item{Path: "f"},
		item{Path: "gone", Mode: treetest.Dir}, item{Path: "gone/x"})
	after := treetest.New(t, item{Path: "a", Mode: treetest.Dir}, item{Path: "a/b"}, item{Path: "a.c"}, item{Path: "\xff"},
		item{Path: "f", Mode: treetest.Dir}, item{Path: "f/g"})
	want := []string{
		`entry "a" true true`, `entry "a/b" false true`, `gone "a/z" true false`, `leave "a"`,
		`entry "a.c" false true`,
		`entry "f" true true`, `entry "f/g" false true`, `leave "f"`,
		`entry "\xff" false true`,
		`gone "B" true false`, `gone "gone" true false`,
	}
	if diff := cmp.Diff(want, steps(t, before, after)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// TestWalkManyEntries has more than the steps that are under way at once, and more
// directory levels than a path name can have.
func TestWalkManyEntries(t *testing.T) {
	top := t.TempDir()
	for i := range 2000 {
		must(t, os.WriteFile(filepath.Join(top, fmt.Sprintf("%04d", i)), nil, 0o600))
	}
	wide := steps(t, top, top)
	if len(wide) != 2000 || wide[1999] != `entry "1999" true true` {
		t.Errorf("walked %d steps, the last %s", len(wide), wide[len(wide)-1])
	}
	deep := t.TempDir()
	makeDeep(t, deep, 1200)
	if got := len(steps(t, "", deep)); got != 2*1200 {
		t.Errorf("walked %d steps of a deep tree, want 2400", got)
	}
}

// makeDeep makes directories within each other, more than one path can name.
func makeDeep(t *testing.T, top string, levels int) {
	t.Helper()
	fd, err := unix.Open(top, unix.O_DIRECTORY, 0)
	must(t, err)
	for range levels {
		must(t, unix.Mkdirat(fd, "deep", 0o755))
		next, err := unix.Openat(fd, "deep", unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd = next
	}
	must(t, unix.Close(fd))
}

func TestWalkDoesNotFollowLinks(t *testing.T) {
	outside := treetest.New(t, item{Path: "secret"})
	top := treetest.New(t, item{Path: "abs", Mode: treetest.Lnk, Target: outside}, item{Path: "up", Mode: treetest.Lnk, Target: ".."})
	want := []string{`entry "abs" false true`, `entry "up" false true`}
	if diff := cmp.Diff(want, steps(t, "", top)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestWalkEndsAtBoundaries(t *testing.T) {
	outside := treetest.New(t, item{Path: "f"}, item{Path: "d", Mode: treetest.Dir})
	tests := []struct {
		name  string
		mount bool
		make  func(t *testing.T) string // gives a tree with the boundary d/here
	}{
		{"another filesystem", true, func(t *testing.T) string {
			top := treetest.New(t, item{Path: "d", Mode: treetest.Dir}, item{Path: "d/here", Mode: treetest.Dir})
			mount(t, "tmpfs", filepath.Join(top, "d/here"), "tmpfs", 0)
			return top
		}},
		{"directory bound from the same filesystem", true, func(t *testing.T) string {
			top := treetest.New(t, item{Path: "d", Mode: treetest.Dir}, item{Path: "d/here", Mode: treetest.Dir})
			mount(t, filepath.Join(outside, "d"), filepath.Join(top, "d/here"), "", unix.MS_BIND)
			return top
		}},
		{"file bound over a file", true, func(t *testing.T) string {
			top := treetest.New(t, item{Path: "d", Mode: treetest.Dir}, item{Path: "d/here"})
			mount(t, filepath.Join(outside, "f"), filepath.Join(top, "d/here"), "", unix.MS_BIND)
			return top
		}},
		{"nested subvolume", false, func(t *testing.T) string {
			top := filepath.Join(loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs}).Mount(t), "top")
			treetest.Build(t, filepath.Dir(top), []item{{Path: "top", Mode: treetest.Dir}, {Path: "top/d", Mode: treetest.Dir}})
			run(t, "btrfs", "subvolume", "create", filepath.Join(top, "d/here"))
			return top
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := tree.Digest(t.Context(), test.make(t))
			var boundary *tree.BoundaryError
			if !errors.As(err, &boundary) || boundary.Path != "d/here" || boundary.Mount != test.mount {
				t.Errorf("error is %v, want a BoundaryError about d/here", err)
			}
		})
	}
}

// TestTopMayBeABoundary: a tree is often a mount or a subvolume itself.
func TestTopMayBeABoundary(t *testing.T) {
	top := loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs}).Mount(t)
	run(t, "btrfs", "subvolume", "create", filepath.Join(top, "sub"))
	digest(t, filepath.Join(top, "sub"))
}

func TestReadingLeavesAccessTimes(t *testing.T) {
	top := treetest.New(t, item{Path: "d", Mode: treetest.Dir}, item{Path: "d/f", Content: "x", Mtime: 1e9})
	// Older than the modification, so that relatime would bring it up to date.
	past := unix.Timespec{Sec: 1}
	for _, name := range []string{"d/f", "d"} {
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(top, name), []unix.Timespec{past, {Sec: 1e9}}, 0))
	}
	digest(t, top)
	for _, name := range []string{"d/f", "d"} {
		var st unix.Stat_t
		must(t, unix.Stat(filepath.Join(top, name), &st))
		if st.Atim.Sec != 1 {
			t.Errorf("the access time of %s moved to %d", name, st.Atim.Sec)
		}
	}
}

func TestChangedWhileRead(t *testing.T) {
	tests := map[string]func(t *testing.T, path string){
		"content": func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("CONTENT"), 0o600)) },
		"shorter": func(t *testing.T, path string) { must(t, os.Truncate(path, 1)) },
		"longer":  func(t *testing.T, path string) { must(t, os.Truncate(path, 100)) },
		"gone":    func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"a fifo":  func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, unix.Mkfifo(path, 0o600)) },
		"a link":  func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Symlink("x", path)) },
		"another file": func(t *testing.T, path string) {
			must(t, os.WriteFile(path+"2", []byte("content"), 0o600))
			must(t, os.Rename(path+"2", path))
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			top := treetest.New(t, item{Path: "f", Content: "content"})
			err := tree.Walk(t.Context(), nil, open(t, top), tree.Visitor[int]{Visit: func(s *tree.Step[int]) error {
				change(t, filepath.Join(top, "f"))
				f, err := s.Target.Open()
				if err != nil {
					return err
				}
				defer f.Close()
				return f.Verify()
			}})
			var changed *tree.ChangedError
			if !errors.As(err, &changed) || changed.Path != "f" {
				t.Errorf("error is %v, want a ChangedError about f", err)
			}
		})
	}
}

func TestWalkErrors(t *testing.T) {
	top := t.TempDir()
	for i := range 1000 {
		must(t, os.WriteFile(filepath.Join(top, fmt.Sprintf("%04d", i)), nil, 0o600))
	}
	boom := errors.New("boom")
	ctx, cancel := context.WithCancel(t.Context())
	tests := []struct {
		name    string
		visitor tree.Visitor[int]
		want    error
	}{
		{"from Visit", tree.Visitor[int]{Visit: func(s *tree.Step[int]) error {
			if s.Path() == "0500" {
				return boom
			}
			return nil
		}}, boom},
		{"from Prepare", tree.Visitor[int]{
			Prepare: func(_ context.Context, _ *tree.Scratch, s *tree.Step[int]) error {
				if s.Path() == "0500" {
					return boom
				}
				return nil
			},
			Visit: func(*tree.Step[int]) error { return nil },
		}, boom},
		{"from the context", tree.Visitor[int]{Visit: func(*tree.Step[int]) error { cancel(); return nil }}, context.Canceled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := handles(t)
			top := open(t, top)
			if err := tree.Walk(ctx, top, top, test.visitor); !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
			if after := handles(t); after > before+1 {
				t.Errorf("%d handles are open, and there were %d before", after, before)
			}
		})
	}
}

// handles counts the open handles of this process.
func handles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

func TestOpenWhatIsNoDirectory(t *testing.T) {
	top := treetest.New(t, item{Path: "f"})
	for path, want := range map[string]error{"f": unix.ENOTDIR, "missing": unix.ENOENT} {
		if _, err := tree.Open(filepath.Join(top, path)); !errors.Is(err, want) {
			t.Errorf("error for %s is %v, want %v", path, err, want)
		}
	}
}

func run(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v (package btrfs-progs): %v: %s", program, args, err, out)
	}
}
