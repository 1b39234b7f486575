package rootfs_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trebuchet-update/tbupdate/core/delta/frames"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/core/tree/treetest"
)

// Vectors of version 1 are written once, with "go test ./core/rootfs -run Vectors1 -vectors.write",
// and never again: later writers may make other streams, and every reader has to take
// these.
var writeVectors = flag.Bool("vectors.write", false, "write those vectors of version 1 that are not there yet")

// vectors1 has a folder for each vector: the tree before (none for a stream from nothing), the
// one after, and the stream; and the folder "malformed", of streams that no reader takes.
const vectors1 = "testdata/v1"

// vectorSource makes one vector.
type vectorSource struct {
	before, after []treetest.Item // before is nil for a stream from nothing
	level         frames.Level
	// stream makes it where no writer would; nil for what frames.Create makes.
	stream func(t *testing.T, origin *v1.Digest, target *tree.Index) []byte
}

func vectorSources() map[string]vectorSource {
	before, after := treetest.Odd()
	lines := func(n int, changed string) string {
		line := "a line of text that there is often enough\n"
		half := strings.Repeat(line, n/len(line)/2)
		return half + changed + half
	}
	const lz4 = "\x02\x21\x4c\x18\x04\x00\x00\x00\x30abc"
	return map[string]vectorSource{
		"everything": {before: before, after: after},
		"whole":      {after: after},
		"nothing":    {before: after, after: after},
		"several-frames": {
			before: []treetest.Item{{Path: "large", Content: lines(9<<20, "")}},
			after:  []treetest.Item{{Path: "large", Content: lines(9<<20, "something else\n")}},
			level:  frames.Fast,
		},
		"lz4": {
			before: []treetest.Item{{Path: "kernel", Content: "<" + lz4 + ">"}},
			after:  []treetest.Item{{Path: "kernel", Content: "[" + lz4 + "]"}},
			stream: func(t *testing.T, origin *v1.Digest, target *tree.Index) []byte {
				old, new := sha256.Sum256([]byte("<"+lz4+">")), sha256.Sum256([]byte("["+lz4+"]"))
				size := uint64(len(lz4))
				at := func(e *tree.Entry) v1.Metadata {
					return v1.Metadata{Mode: e.Mode & 0o7777, Seconds: e.Modified.Seconds, Nanoseconds: e.Modified.Nanoseconds}
				}
				top := at(&target.Top)
				top.Mode = 0
				return frameStreamTo(t, origin, target.Digest(), v1.Frame{
					Files: []v1.File{
						{Path: "kernel", Size: size + 2, Digest: old},
						{Path: "kernel", Size: size + 2, Digest: old, View: v1.View{Method: v1.ByLZ4, Offset: 1, Length: size, Size: 3}},
					},
					Ranges:  []v1.Range{{File: 1, Length: 3}},
					Content: v1.Content{Size: 5, Stored: []byte("[abc]")},
					Commands: []v1.Command{v1.PlainFile{Path: "kernel", Metadata: at(&target.Entries[0].Entry), Before: v1.Expect(0), Size: size + 2, Digest: new, Parts: []v1.Part{
						{Kind: v1.Data, Length: 1}, {Kind: v1.Repack, Length: size, By: v1.ByLZ4}, {Kind: v1.Data, Length: 3}, {Kind: v1.Repack}, {Kind: v1.Data, Length: 1},
					}}, v1.Meta{Mask: v1.MaskTime, Metadata: top}},
				})
			},
		},
	}
}

// tarOf packs a tree with all that is in it.
func tarOf(t *testing.T, top, file string) {
	t.Helper()
	run(t, "tar", "--create", "--zstd", "--file", file, "--directory", top, "--format=posix", "--sort=name", "--numeric-owner",
		"--acls", "--xattrs", "--xattrs-include=*", "--pax-option=delete=atime,delete=ctime", ".")
}

func exactDigest(t *testing.T, top string) v1.Digest {
	t.Helper()
	digests, err := tree.ReadDigests(t.Context(), top)
	must(t, err)
	return digests.Exact
}

// write makes the vector in a directory.
func (s vectorSource) write(t *testing.T, directory string) {
	t.Helper()
	must(t, os.MkdirAll(directory, 0o755))
	origin, target := "", treetest.New(t, s.after...)
	var from *v1.Digest
	if s.before != nil {
		origin = treetest.New(t, s.before...)
		digest := exactDigest(t, origin)
		from = &digest
		tarOf(t, origin, filepath.Join(directory, "old.tar.zst"))
	}
	tarOf(t, target, filepath.Join(directory, "new.tar.zst"))
	var stream bytes.Buffer
	if s.stream != nil {
		is, err := tree.ReadIndex(t.Context(), target)
		must(t, err)
		stream.Write(s.stream(t, from, is))
	} else {
		_, err := frames.Create(t.Context(), &stream, origin, target, frames.Options{Level: s.level})
		must(t, err)
	}
	must(t, os.WriteFile(filepath.Join(directory, "stream.tbd"), stream.Bytes(), 0o644))
}

func TestVectors1(t *testing.T) {
	for name, source := range vectorSources() {
		t.Run(name, func(t *testing.T) {
			directory := filepath.Join(vectors1, name)
			if _, err := os.Stat(directory); *writeVectors && errors.Is(err, os.ErrNotExist) {
				source.write(t, directory)
			}
			stream, err := os.ReadFile(filepath.Join(directory, "stream.tbd"))
			must(t, err)
			reader, err := v1.NewReader(bytes.NewReader(stream))
			must(t, err)
			made := t.TempDir()
			if from := reader.Header().Origin; from != nil {
				made = unpack(t, filepath.Join(directory, "old.tar.zst"), t.TempDir())
				if got := exactDigest(t, made); got != *from {
					t.Fatalf("the origin has the digest %x instead of %x", got, *from)
				}
			}
			_, err = deployFrames(t.Context(), made, stream)
			must(t, err)
			want := reader.Header().Target
			if got := exactDigest(t, unpack(t, filepath.Join(directory, "new.tar.zst"), t.TempDir())); got != want {
				t.Fatalf("the target has the digest %x instead of %x", got, want)
			}
			if got := exactDigest(t, made); got != want {
				t.Errorf("what the stream makes has the digest %x instead of %x", got, want)
			}
		})
	}
}

// malformedSources are streams that are refused, whatever the tree is. The names say why.
func malformedSources(t *testing.T) map[string][]byte {
	file := v1.PlainFile{Path: "a", Metadata: v1.Metadata{Mode: 0o644}, Size: 3, Digest: sha256.Sum256([]byte("abc")), Parts: []v1.Part{{Kind: v1.Data, Length: 3}}}
	whole := frameStream(t, nil, v1.Frame{Content: v1.Content{Size: 3, Stored: []byte("abc")}, Commands: []v1.Command{file}})
	changed := func(at int) []byte {
		b := bytes.Clone(whole)
		b[at] ^= 0x40
		return b
	}
	return map[string][]byte{
		"empty":          {},
		"magic":          changed(0),
		"header":         changed(len(v1.Magic) + 1),
		"content":        bytes.Replace(whole, []byte("abc"), []byte("abd"), 1),
		"cut-in-frame":   whole[:len(whole)-4],
		"cut-before-end": whole[:len(whole)-1],
		"longer":         append(bytes.Clone(whole), 0),
	}
}

func TestMalformedVectors1(t *testing.T) {
	directory := filepath.Join(vectors1, "malformed")
	if *writeVectors {
		must(t, os.MkdirAll(directory, 0o755))
		for name, stream := range malformedSources(t) {
			if path := filepath.Join(directory, name+".tbd"); !exists(path) {
				must(t, os.WriteFile(path, stream, 0o644))
			}
		}
	}
	streams, err := filepath.Glob(filepath.Join(directory, "*.tbd"))
	must(t, err)
	if want := len(malformedSources(t)); len(streams) != want {
		t.Fatalf("there are %d streams instead of %d", len(streams), want)
	}
	for _, path := range streams {
		stream, err := os.ReadFile(path)
		must(t, err)
		if _, err := deployFrames(t.Context(), t.TempDir(), stream); !errors.Is(err, tbdiff.ErrMalformed) && !errors.Is(err, tbdiff.ErrTruncated) {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
