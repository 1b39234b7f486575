package frames_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/trebuchet-update/tbupdate/core/delta/frames"
	"github.com/trebuchet-update/tbupdate/core/rootfs"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/core/tree/treetest"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of core/delta/frames set owners, make device nodes and mount: run them as root")
		os.Exit(1)
	}
	loopback.Main(m)
}

func create(t testing.TB, origin, target string) ([]byte, frames.Stats) {
	t.Helper()
	return createAt(t, frames.Fast, origin, target)
}

func createAt(t testing.TB, level frames.Level, origin, target string) ([]byte, frames.Stats) {
	t.Helper()
	var stream bytes.Buffer
	stats, err := frames.Create(t.Context(), &stream, origin, target, frames.Options{Level: level, Spool: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if stats.Bytes != int64(stream.Len()) {
		t.Errorf("the stream is said to have %d bytes, and has %d", stats.Bytes, stream.Len())
	}
	return stream.Bytes(), stats
}

func deploy(t testing.TB, stream []byte, path string) {
	t.Helper()
	reader, err := v1.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	top, err := rootfs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	if _, err := top.DeployFrames(t.Context(), reader, rootfs.Options{}); err != nil {
		t.Fatal(err)
	}
}

// wantSame makes sure that a tree is the other one in every respect.
func wantSame(t testing.TB, got, want string) {
	t.Helper()
	found, err := tree.Compare(t.Context(), got, want, tree.Options{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		t.Error(d)
	}
}

// digest gives what the header of a stream has to say of a tree.
func digest(t testing.TB, path string) v1.Digest {
	t.Helper()
	index, err := tree.ReadIndex(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return index.Digest()
}

// TestRoundTrip is the promise of the package: the stream of two trees turns the one into
// the other, whatever they hold.
func TestRoundTrip(t *testing.T) {
	const seeds = 150
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			before, after := treetest.Random(seed)
			origin, target := treetest.New(t, before...), treetest.New(t, after...)
			stream, stats := create(t, origin, target)
			if got := digest(t, origin); *stats.Header.Origin != got {
				t.Errorf("the origin's digest is %x instead of %x", *stats.Header.Origin, got)
			}
			deploy(t, stream, origin)
			wantSame(t, origin, target)
			if got := digest(t, origin); got != stats.Header.Target {
				t.Errorf("the digest of the result is %x instead of %x", got, stats.Header.Target)
			}
			if _, stats := create(t, origin, target); stats.Frames != 0 {
				t.Errorf("after it was applied there still are %d frames", stats.Frames)
			}
		})
	}
}

// TestFromNothing makes the whole of a tree.
func TestFromNothing(t *testing.T) {
	for seed := range uint64(30) {
		_, after := treetest.Random(seed)
		made, target := t.TempDir(), treetest.New(t, after...)
		stream, _ := create(t, "", target)
		deploy(t, stream, made)
		wantSame(t, made, target)
	}
}

func TestStreamIsTheSameOnEveryFilesystem(t *testing.T) {
	before, after := treetest.Random(4711)
	// Times as every filesystem holds them.
	for _, items := range [][]treetest.Item{before, after} {
		for i := range items {
			items[i].Mtime = max(items[i].Mtime, 0)
		}
	}
	build := func(top string) []byte {
		var paths []string
		for i, items := range [][]treetest.Item{before, after} {
			path := filepath.Join(top, fmt.Sprint(i))
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			treetest.Build(t, path, items)
			when := time.Unix(1_700_000_000, 0)
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path)
		}
		stream, _ := create(t, paths[0], paths[1])
		return stream
	}
	want := build(t.TempDir())
	for _, filesystem := range []loopback.Filesystem{loopback.Ext4, loopback.Btrfs} {
		if got := build(loopback.New(t, loopback.Options{Filesystem: filesystem}).Mount(t)); !bytes.Equal(got, want) {
			t.Errorf("on %s the stream is another: %d bytes, want %d", filesystem, len(got), len(want))
		}
	}
}
