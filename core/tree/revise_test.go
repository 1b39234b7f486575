package tree_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/core/tree/treetest"
)

// changedPaths lists the paths at which two states of a tree differ.
func changedPaths(a, b *tree.Index) []string {
	var changed []string
	was := map[string]tree.Indexed{}
	for _, e := range a.Entries {
		was[e.Path] = e
	}
	for _, e := range b.Entries {
		old, ok := was[e.Path]
		delete(was, e.Path)
		// How many names an inode has is not what a filesystem calls a change.
		old.Links, old.First, old.Changed, old.Device = e.Links, e.First, e.Changed, e.Device
		if !ok || !cmp.Equal(old, e) {
			changed = append(changed, e.Path)
		}
	}
	for path := range was {
		changed = append(changed, path)
	}
	return changed
}

// entriesAlone leaves out whether the digest is known.
var entriesAlone = cmpopts.IgnoreUnexported(tree.Index{})

func mustIndex(t *testing.T, top string) *tree.Index {
	t.Helper()
	x, err := tree.ReadIndex(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// checkRevision holds a revised index against one that was read as a whole.
func checkRevision(t *testing.T, old *tree.Index, top string, more ...string) *tree.Index {
	t.Helper()
	want := mustIndex(t, top)
	changed := append(changedPaths(old, want), more...)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(changed), func(i, j int) { changed[i], changed[j] = changed[j], changed[i] })
	got, err := old.Revise(t.Context(), top, changed)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest() != want.Digest() {
		t.Errorf("with %q changed the digests differ:\n%s", changed, cmp.Diff(want, got, entriesAlone))
	}
	for i := range min(len(got.Entries), len(want.Entries)) {
		if g, w := got.Entries[i], want.Entries[i]; g.Path != w.Path || g.First != w.First || g.Content != w.Content {
			t.Errorf("it has %q, first %q, where %q, first %q, is", g.Path, g.First, w.Path, w.First)
		}
	}
	return got
}

func TestRevise(t *testing.T) {
	type item = treetest.Item
	items := []item{
		{Path: "a", Mode: treetest.Dir}, {Path: "a/b", Mode: treetest.Dir}, {Path: "a/b/file", Content: "1"}, {Path: "a/b-c", Content: "2"},
		{Path: "a.b", Content: "3"}, {Path: "d", Mode: treetest.Dir}, {Path: "d/x", Content: "4"}, {Path: "d/y", Link: "d/x"},
		{Path: "link", Mode: treetest.Lnk, Target: "a"}, {Path: "z", Content: "5"},
	}
	for name, change := range map[string]func(in func(string) string) error{
		"nothing":      func(func(string) string) error { return nil },
		"content":      func(in func(string) string) error { return os.WriteFile(in("a/b/file"), []byte("9"), 0o644) },
		"a first name": func(in func(string) string) error { return os.Link(in("z"), in("0")) },
		"a later name": func(in func(string) string) error { return os.Link(in("a.b"), in("zz")) },
		"a name less":  func(in func(string) string) error { return os.Remove(in("d/x")) },
		"names apart": func(in func(string) string) error {
			return errors.Join(os.Remove(in("d/y")), os.WriteFile(in("d/y"), []byte("4"), 0o644))
		},
		"a directory moved": func(in func(string) string) error { return os.Rename(in("a"), in("e")) },
		"a directory gone":  func(in func(string) string) error { return os.RemoveAll(in("a")) },
		"a file for a directory": func(in func(string) string) error {
			return errors.Join(os.RemoveAll(in("a")), os.WriteFile(in("a"), nil, 0o644))
		},
		"a directory for a file": func(in func(string) string) error {
			return errors.Join(os.Remove(in("z")), os.Mkdir(in("z"), 0o755), os.WriteFile(in("z/z"), nil, 0o644))
		},
		"an attribute of the top": func(in func(string) string) error { return unix.Setxattr(in("."), "user.a", []byte("1"), 0) },
		"a socket":                func(in func(string) string) error { return unix.Mknod(in("socket"), treetest.Sock, 0) },
		"everything gone": func(in func(string) string) error {
			return errors.Join(os.RemoveAll(in("a")), os.RemoveAll(in("d")), os.Remove(in("a.b")), os.Remove(in("link")), os.Remove(in("z")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			top := treetest.New(t, items...)
			old := mustIndex(t, top)
			if err := change(func(path string) string { return filepath.Join(top, path) }); err != nil {
				t.Fatal(err)
			}
			checkRevision(t, old, top, "z", "a/b", "a/b", "never/there", "link/b")
		})
	}
}

// TestReviseManyTimes changes random trees again and again, each time from the last revision.
func TestReviseManyTimes(t *testing.T) {
	for seed := range uint64(5) {
		_, items := treetest.Random(seed)
		top := treetest.New(t, items...)
		index := mustIndex(t, top)
		random := rand.New(rand.NewPCG(seed, 0))
		for round := range 20 {
			for range 1 + random.IntN(5) {
				pick := func() string {
					if len(index.Entries) == 0 {
						return filepath.Join(top, "new")
					}
					return filepath.Join(top, index.Entries[random.IntN(len(index.Entries))].Path)
				}
				// Some of these fail, since something else is there: then nothing changes.
				switch random.IntN(6) {
				case 0:
					_ = os.RemoveAll(pick())
				case 1:
					_ = os.Rename(pick(), pick()+"-moved")
				case 2:
					_ = os.Link(pick(), pick()+"-linked")
				case 3:
					_ = os.WriteFile(pick()+fmt.Sprint(round), []byte{byte(round)}, 0o644)
				case 4:
					_ = os.Mkdir(pick()+fmt.Sprint(round), 0o700)
				case 5:
					_ = os.Lchown(pick(), random.IntN(10), 0)
				}
			}
			index = checkRevision(t, index, top)
		}
	}
}

func TestComparePaths(t *testing.T) {
	paths := []string{".", "a", "a/b", "a/b/c", "a/b-", "a/c", "a-", "a.b", "b"}
	for i, a := range paths {
		for j, b := range paths {
			if got, want := tree.ComparePaths(a, b), i-j; (got < 0) != (want < 0) || (got > 0) != (want > 0) {
				t.Errorf("%q and %q compare as %d", a, b, got)
			}
		}
	}
}

func stored(t testing.TB, x *tree.Index) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := x.Store(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func entriesOf(x *tree.Index) (entries []*tree.Entry) {
	for i := range x.Entries {
		entries = append(entries, &x.Entries[i].Entry)
	}
	return entries
}

func TestStoredIndexIsRead(t *testing.T) {
	_, items := treetest.Random(3)
	x := mustIndex(t, treetest.New(t, items...))
	text := stored(t, x)
	got, err := tree.ReadStored(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range append([]*tree.Entry{&x.Top}, entriesOf(x)...) {
		e.Device, e.Changed = 0, tree.Time{}
	}
	if diff := cmp.Diff(x, got, entriesAlone); diff != "" {
		t.Error(diff)
	}
	if got.Digest() != x.Digest() {
		t.Errorf("the digest is kept as %x, and is %x", got.Digest(), x.Digest())
	}
	for i := 0; i < len(text); i += 1 + len(text)/2000 {
		damaged := slices.Clone(text)
		damaged[i] ^= 1
		if _, err := tree.ReadStored(damaged); !errors.Is(err, tree.ErrNoIndex) {
			t.Fatalf("with byte %d changed: %v", i, err)
		}
		if _, err := tree.ReadStored(text[:i]); !errors.Is(err, tree.ErrNoIndex) {
			t.Fatalf("cut after %d bytes: %v", i, err)
		}
	}
	if _, err := tree.ReadStored([]byte(strings.Repeat("x", 100))); !errors.Is(err, tree.ErrNoIndex) {
		t.Errorf("of something else: %v", err)
	}
}

// FuzzReadStored reads what has a right digest and anything else within.
func FuzzReadStored(f *testing.F) {
	const header = "trebuchet tree index 2\n"
	for seed := range uint64(3) {
		_, items := treetest.Random(seed)
		x, err := tree.ReadIndex(f.Context(), treetest.New(f, items...))
		if err != nil {
			f.Fatal(err)
		}
		text := stored(f, x)
		f.Add(text[len(header) : len(text)-sha256.Size])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		text := append([]byte(header), body...)
		sum := sha256.Sum256(text)
		x, err := tree.ReadStored(append(text, sum[:]...))
		if err != nil {
			if !errors.Is(err, tree.ErrNoIndex) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		again, err := tree.ReadStored(stored(t, x))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(x, again, entriesAlone); diff != "" {
			t.Error(diff)
		}
	})
}
