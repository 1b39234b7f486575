package delta_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/delta"
	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/core/tree/treetest"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of core/delta set owners, make device nodes and mount: run them as root")
		os.Exit(1)
	}
	loopback.Main(m)
}

type item = treetest.Item

// TestRoundTrip is the promise of the package: the stream of two trees turns the
// one into the other, whatever they hold.
func TestRoundTrip(t *testing.T) {
	const seeds = 150
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			before, after := treetest.Random(seed)
			origin, target := treetest.New(t, before...), treetest.New(t, after...)
			stream := create(t, origin, target)
			deploy(t, stream, origin)
			wantSame(t, origin, target)
			if again := create(t, origin, target); len(again) != emptyStream {
				t.Errorf("after it was applied there still is a stream of %d bytes", len(again))
			}
		})
	}
}

// TestFromNothing makes the whole of a tree.
func TestFromNothing(t *testing.T) {
	for seed := range uint64(20) {
		_, after := treetest.Random(seed)
		origin, target := t.TempDir(), treetest.New(t, after...)
		deploy(t, create(t, origin, target), origin)
		wantSame(t, origin, target)
	}
}

// emptyStream is the length of a stream that changes nothing.
const emptyStream = 1 + 2 + len("Codethink:TBDIFFv0") + 1

func TestStreamIsTheSameOnEveryFilesystem(t *testing.T) {
	before, after := treetest.Random(4711)
	// Times as every filesystem holds them.
	for _, items := range [][]item{before, after} {
		for i := range items {
			items[i].Mtime = max(items[i].Mtime, 0)
		}
	}
	want := create(t, treetest.New(t, before...), treetest.New(t, after...))
	for _, filesystem := range []loopback.Filesystem{loopback.Ext4, loopback.Btrfs} {
		top := loopback.New(t, loopback.Options{Filesystem: filesystem}).Mount(t)
		origin, target := filepath.Join(top, "origin"), filepath.Join(top, "target")
		must(t, os.Mkdir(origin, 0o755))
		must(t, os.Mkdir(target, 0o755))
		treetest.Build(t, origin, before)
		treetest.Build(t, target, after)
		if got := create(t, origin, target); !bytes.Equal(got, want) {
			t.Errorf("on %s the stream is another: %d bytes, want %d", filesystem, len(got), len(want))
		}
	}
}

// TestVectors makes streams of its own for the trees of the C tool's vectors.
func TestVectors(t *testing.T) {
	vectors, err := filepath.Glob("../rootfs/testdata/v0/*")
	must(t, err)
	if len(vectors) == 0 {
		t.Fatal("there are no vectors in core/rootfs/testdata/v0")
	}
	for _, vector := range vectors {
		t.Run(filepath.Base(vector), func(t *testing.T) {
			origin, target := unpack(t, vector+"/old.tar"), unpack(t, vector+"/new.tar")
			stream := create(t, origin, target)
			theirs, err := os.ReadFile(vector + "/stream.tbd")
			must(t, err)
			if len(stream) > len(theirs) {
				t.Errorf("the stream has %d bytes, and the C tool's %d", len(stream), len(theirs))
			}
			deploy(t, stream, origin)
			wantSame(t, origin, target)
			b, err := os.ReadFile(vector + "/expected.json")
			must(t, err)
			var want []described
			must(t, json.Unmarshal(b, &want))
			if diff := cmp.Diff(byPath(want), byPath(describe(t, origin))); diff != "" {
				t.Errorf("the result is not what expected.json says (-want +got):\n%s", diff)
			}
		})
	}
}

// described is one entry as expected.json has it.
type described struct {
	Path   string            `json:"path"`
	Mode   string            `json:"mode"`
	UID    uint32            `json:"uid"`
	GID    uint32            `json:"gid"`
	Mtime  int64             `json:"mtime"`
	Size   uint64            `json:"size"`
	SHA256 string            `json:"sha256"`
	Target string            `json:"target"`
	Rdev   []uint32          `json:"rdev"`
	Xattrs map[string]string `json:"xattrs"`
}

func byPath(items []described) map[string]described {
	paths := map[string]described{}
	for _, d := range items {
		d.SHA256 = "" // contents are compared with the target tree
		paths[d.Path] = d
	}
	return paths
}

func describe(t *testing.T, top string) []described {
	t.Helper()
	dir, err := tree.Open(top)
	must(t, err)
	defer dir.Close()
	var found []described
	err = tree.Walk(t.Context(), nil, dir, tree.Visitor[struct{}]{
		Visit: func(s *tree.Step[struct{}]) error {
			if s.Move != tree.MoveEntry {
				return nil
			}
			if err := s.Target.Load(); err != nil {
				return err
			}
			found = append(found, describeEntry(&s.Target.Entry))
			return nil
		},
	})
	must(t, err)
	return found
}

func describeEntry(e *tree.Entry) described {
	d := described{
		Path: jsonPath(e.Path), Mode: fmt.Sprintf("%o", e.Mode), UID: e.UID, GID: e.GID,
		Mtime: e.Modified.Seconds, Size: e.Size, Target: e.Target,
	}
	if e.IsDevice() {
		d.Rdev = []uint32{unix.Major(e.Rdev), unix.Minor(e.Rdev)}
	}
	for _, x := range e.Xattrs {
		if d.Xattrs == nil {
			d.Xattrs = map[string]string{}
		}
		d.Xattrs[x.Name] = hex.EncodeToString(x.Value)
	}
	return d
}

// jsonPath writes bytes that JSON cannot hold as expected.json does.
func jsonPath(path string) string {
	if utf8.ValidString(path) {
		return path
	}
	var b strings.Builder
	for _, c := range []byte(path) {
		if c < utf8.RuneSelf {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

func create(t testing.TB, origin, target string) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := delta.Create(t.Context(), &b, origin, target, delta.Options{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func deploy(t testing.TB, stream []byte, top string) {
	t.Helper()
	root, err := rootfs.Open(top)
	must(t, err)
	defer root.Close()
	if _, err := root.Deploy(t.Context(), tbdiff.NewReader(bytes.NewReader(stream)), rootfs.Options{}); err != nil {
		t.Fatal(err)
	}
}

func wantSame(t testing.TB, got, want string) {
	t.Helper()
	found, err := tree.Compare(context.Background(), want, got, tree.Options{})
	must(t, err)
	for _, d := range found {
		t.Errorf("want != got: %v", d)
	}
	a, err := tree.Digest(context.Background(), want)
	must(t, err)
	b, err := tree.Digest(context.Background(), got)
	must(t, err)
	if a != b {
		t.Errorf("digest is %s, want %s", b, a)
	}
}

func unpack(t testing.TB, archive string) string {
	t.Helper()
	top := t.TempDir()
	tar := exec.Command("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", archive, "-C", top)
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("cannot unpack %s: %v: %s", archive, err, out)
	}
	return top
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
