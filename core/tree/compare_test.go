package tree_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/core/tree/treetest"
)

func TestCompare(t *testing.T) {
	tests := []struct {
		name  string
		exact bool
		a, b  []item
		want  []string
	}{
		{name: "the same", a: sample(), b: sample()},
		{name: "the same, exactly", exact: true, a: sample(), b: sample()},
		{
			name: "only in one, and no more than the topmost",
			a:    []item{{Path: "a", Mode: treetest.Dir}, {Path: "a/x"}, {Path: "l", Mode: treetest.Lnk, Target: "x"}},
			b:    []item{{Path: "b", Mode: treetest.Dir}, {Path: "b/x"}, {Path: "b/y", Mode: treetest.Dir}, {Path: "b/y/z"}, {Path: "c"}},
			want: []string{"a: entry: directory != -", "b: entry: - != directory", "c: entry: - != file", "l: entry: symbolic link != -"},
		}, {
			name: "type, and nothing else of it",
			a:    []item{{Path: "a", Mode: treetest.Dir}, {Path: "a/x"}, {Path: "b"}},
			b:    []item{{Path: "a", UID: 1}, {Path: "b", Mode: treetest.Dir}, {Path: "b/x"}},
			want: []string{"a: type: directory != file", "b: type: file != directory"},
		}, {
			name: "metadata",
			a:    []item{{Path: "f", Mtime: -1}},
			b:    []item{{Path: "f", Mode: treetest.File | 0o4111, UID: 1, GID: 2, Mtime: 5}},
			want: []string{"f: mode: 100644 != 104755", "f: uid: 0 != 1", "f: gid: 0 != 2", "f: mtime: -1 != 5"},
		}, {
			name: "content",
			a:    []item{{Path: "f", Content: "same old"}, {Path: "g", Content: "x"}},
			b:    []item{{Path: "f", Content: "same new"}, {Path: "g", Content: "xy"}},
			want: []string{
				"f: content: 8 bytes != 8 bytes, the first 5 the same",
				"g: content: 1 bytes != 2 bytes, the first 1 the same",
			},
		}, {
			name: "link targets and devices",
			a:    []item{{Path: "l", Mode: treetest.Lnk, Target: "a"}, {Path: "n", Mode: treetest.Char, Rdev: unix.Mkdev(1, 3)}},
			b:    []item{{Path: "l", Mode: treetest.Lnk, Target: "b\n"}, {Path: "n", Mode: treetest.Char, Rdev: unix.Mkdev(1, 300)}},
			want: []string{`l: link target: "a" != "b\n"`, "n: device: 1,3 != 1,300"},
		}, {
			name: "attributes",
			a:    []item{{Path: "f", Xattrs: map[string]string{"user.a": "1", "user.b": "\x00", "user.same": "s"}}},
			b:    []item{{Path: "f", Xattrs: map[string]string{"user.b": "2", "user.c": "", "user.same": "s"}}},
			want: []string{`f: attribute user.a: "1" != -`, `f: attribute user.b: 0x00 != "2"`, `f: attribute user.c: - != ""`},
		}, {
			name: "odd paths stay on one line, sorted as a walk goes",
			a:    []item{{Path: "a", Mode: treetest.Dir}, {Path: "a/b"}, {Path: "a\n"}, {Path: "a."}},
			want: []string{"a: entry: directory != -", `"a\n": entry: file != -`, "a.: entry: file != -"},
		}, {
			name: "what a stream cannot say does not count",
			a:    []item{{Path: "f", Nano: 1, Content: "x"}, {Path: "g", Link: "f"}, {Path: "s", Mode: treetest.Sock}, {Path: "t"}},
			b:    []item{{Path: "f", Nano: 2, Content: "x"}, {Path: "g", Content: "x"}, {Path: "t"}},
		}, {
			name: "but exactly it does", exact: true,
			a: []item{{Path: "f", Nano: 1, Content: "x"}, {Path: "g", Link: "f"}, {Path: "s", Mode: treetest.Sock}, {Path: "t"}},
			b: []item{{Path: "f", Nano: 2, Content: "x"}, {Path: "g", Content: "x", Nano: 1}, {Path: "t"}},
			want: []string{
				"f: mtime: 0+000000001ns != 0+000000002ns",
				"g: hard link: f != -",
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var lines []string
			for _, d := range compare(t, treetest.New(t, test.a...), treetest.New(t, test.b...), test.exact) {
				lines = append(lines, d.String())
			}
			if diff := cmp.Diff(test.want, lines); diff != "" {
				t.Errorf("differences (-want +got):\n%s", diff)
			}
		})
	}
}

// compare compares trees whose tops were made alike before.
func compare(t *testing.T, a, b string, exact bool) []tree.Difference {
	t.Helper()
	for _, top := range []string{a, b} {
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, top, make([]unix.Timespec, 2), 0))
	}
	found, err := tree.Compare(t.Context(), a, b, tree.Options{Exact: exact})
	must(t, err)
	return found
}

func TestCompareTops(t *testing.T) {
	a, b := treetest.New(t), treetest.New(t)
	must(t, os.Chmod(b, 0o711))
	if found := compare(t, a, b, false); len(found) > 0 {
		t.Errorf("the tops' metadata count: %v", found)
	}
	found := compare(t, a, b, true)
	if len(found) != 1 || found[0].Path != "." || !strings.HasSuffix(found[0].B, "711") {
		t.Errorf("differences are %v, want the mode of the top", found)
	}
}

// TestCompareAgreesWithDigest: no difference and the same digest are one.
func TestCompareAgreesWithDigest(t *testing.T) {
	for seed := range uint64(30) {
		before, after := treetest.Random(seed)
		a, b, c := treetest.New(t, before...), treetest.New(t, after...), treetest.New(t, before...)
		if found := compare(t, a, c, false); len(found) > 0 || digest(t, a) != digest(t, c) {
			t.Errorf("seed %d: two makings of one tree differ: %v", seed, found)
		}
		same := len(compare(t, a, b, false)) == 0
		if same != (digest(t, a) == digest(t, b)) {
			t.Errorf("seed %d: trees compare the same: %v, and their digests do not agree", seed, same)
		}
	}
}
