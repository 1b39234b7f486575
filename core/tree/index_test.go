package tree_test

import (
	"os"
	"testing"
	"time"

	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/core/tree/treetest"
)

// TestDigestsAgree reads trees by each of the ways there are.
func TestDigestsAgree(t *testing.T) {
	for seed := range uint64(10) {
		_, items := treetest.Random(seed)
		top := treetest.New(t, append(items, treetest.Item{Path: "socket", Mode: treetest.Sock})...)
		classic, err := tree.Digest(t.Context(), top)
		if err != nil {
			t.Fatal(err)
		}
		both, err := tree.ReadDigests(t.Context(), top)
		if err != nil {
			t.Fatal(err)
		}
		index, err := tree.ReadIndex(t.Context(), top)
		if err != nil {
			t.Fatal(err)
		}
		if both.Classic != classic {
			t.Errorf("the classic digest is %s, and %s by another way", classic, both.Classic)
		}
		if exact := index.Digest(); both.Exact != exact {
			t.Errorf("the exact digest is %x, and %x by another way", exact, both.Exact)
		}
	}
}

// TestExactDigestSeesMore changes what the classic digest does not see.
func TestExactDigestSeesMore(t *testing.T) {
	type item = treetest.Item
	base := []item{{Path: "a", Content: "x", Mtime: 5, Nano: 1}, {Path: "b", Content: "x", Mtime: 5, Nano: 1}}
	digests := func(items []item) tree.Digests {
		top := treetest.New(t, items...)
		if err := os.Chtimes(top, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		d, err := tree.ReadDigests(t.Context(), top)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	want := digests(base)
	if again := digests(base); again != want {
		t.Errorf("the digests of the same tree are %v and %v", want, again)
	}
	for name, items := range map[string][]item{
		"nanoseconds": {base[0], {Path: "b", Content: "x", Mtime: 5, Nano: 2}},
		"a hard link": {base[0], {Path: "b", Link: "a"}},
	} {
		got := digests(items)
		if got.Classic != want.Classic {
			t.Errorf("%s: the classic digest sees it", name)
		}
		if got.Exact == want.Exact {
			t.Errorf("%s: the exact digest does not see it", name)
		}
	}
}
