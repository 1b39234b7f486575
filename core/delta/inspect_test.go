package delta_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/delta"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/core/tree/treetest"
)

func inspect(t *testing.T, stream []byte) ([]delta.Change, delta.Totals) {
	t.Helper()
	var found []delta.Change
	totals, err := delta.Inspect(t.Context(), tbdiff.NewReader(bytes.NewReader(stream)), func(c delta.Change) error {
		found = append(found, c)
		return nil
	})
	must(t, err)
	return found, totals
}

func TestInspect(t *testing.T) {
	origin := treetest.New(t,
		item{Path: "d", Mode: dir}, item{Path: "d/del"}, item{Path: "d/delta", Content: "begin old end", Xattrs: xattrs("user.a", "1")},
		item{Path: "d/link", Mode: treetest.Lnk, Target: "x"}, item{Path: "d/meta"}, item{Path: "d/xattr"})
	target := treetest.New(t,
		item{Path: "d", Mode: dir | 0o1000, Mtime: -9}, item{Path: "d/delta", Content: "begin new! end", GID: 2, Xattrs: xattrs("user.a", "2")},
		item{Path: "d/link", Mode: treetest.Lnk, Target: "y"}, item{Path: "d/meta", Mtime: 3}, item{Path: "d/new", Content: "1234", UID: 1},
		item{Path: "d/newdir", Mode: dir}, item{Path: "d/null", Mode: treetest.Char, Rdev: unix.Mkdev(1, 3)},
		item{Path: "d/xattr", Xattrs: xattrs("user.b", "")})
	stream := create(t, origin, target)
	changes, totals := inspect(t, stream)
	want := []delta.Change{
		{Path: "d", Action: delta.ActionMetadata, Kind: tree.KindDirectory, Mask: tbdiff.MaskMode | tbdiff.MaskMtime, Mtime: -9, Mode: dir | 0o1000},
		{
			Path: "d/delta", Action: delta.ActionModify, Kind: tree.KindFile, Data: 4, Start: 6, End: 9, Mask: tbdiff.MaskGID, GID: 2, Mode: file,
			SetsAttributes: true, Attributes: []tbdiff.Xattr{{Name: "user.a", Value: []byte("2")}},
		},
		{Path: "d/link", Action: delta.ActionReplace, Kind: tree.KindSymlink, Target: "y"},
		{Path: "d/meta", Action: delta.ActionMetadata, Kind: tree.KindFile, Mask: tbdiff.MaskMtime, Mtime: 3, Mode: file},
		{Path: "d/new", Action: delta.ActionCreate, Kind: tree.KindFile, Data: 4, UID: 1, Mode: file},
		{Path: "d/newdir", Action: delta.ActionCreate, Kind: tree.KindDirectory, Mode: dir},
		{Path: "d/null", Action: delta.ActionCreate, Kind: tree.KindCharacter, Rdev: 0x103, Mode: treetest.Char},
		{Path: "d/xattr", Action: delta.ActionAttributes, SetsAttributes: true, Attributes: []tbdiff.Xattr{{Name: "user.b", Value: []byte{}}}},
		{Path: "d/del", Action: delta.ActionDelete},
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	wantTotals := delta.Totals{
		Commands: 17, Bytes: int64(len(stream)), Data: 8,
		Changes: map[delta.Action]int{
			delta.ActionCreate: 3, delta.ActionReplace: 1, delta.ActionModify: 1,
			delta.ActionMetadata: 2, delta.ActionAttributes: 1, delta.ActionDelete: 1,
		},
	}
	if diff := cmp.Diff(wantTotals, totals); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
}

// TestInspectCountsAsCreateDid holds the two accounts of one stream together.
func TestInspectCountsAsCreateDid(t *testing.T) {
	for seed := range uint64(10) {
		before, after := treetest.Random(seed)
		var b bytes.Buffer
		stats, err := delta.Create(t.Context(), &b, treetest.New(t, before...), treetest.New(t, after...), delta.Options{})
		must(t, err)
		if _, totals := inspect(t, b.Bytes()); totals.Commands != stats.Commands || totals.Data != stats.Data {
			t.Errorf("seed %d: create counts %+v, and inspect %+v", seed, stats, totals)
		}
	}
}

func TestInspectErrors(t *testing.T) {
	stream, err := os.ReadFile("../rootfs/testdata/v0/edit/stream.tbd")
	must(t, err)
	boom := errors.New("boom")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name   string
		ctx    context.Context
		stream []byte
		each   error
		want   error
	}{
		{"truncated", t.Context(), stream[:len(stream)-1], nil, tbdiff.ErrTruncated},
		{"empty", t.Context(), nil, nil, tbdiff.ErrTruncated},
		{"malformed", t.Context(), []byte("#!/bin/sh"), nil, tbdiff.ErrMalformed},
		{"the caller's own", t.Context(), stream, boom, boom},
		{"the context's", canceled, stream, nil, context.Canceled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := delta.Inspect(test.ctx, tbdiff.NewReader(bytes.NewReader(test.stream)), func(delta.Change) error { return test.each })
			if !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
		})
	}
}
