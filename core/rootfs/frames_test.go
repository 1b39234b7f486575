package rootfs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/packed"
	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// frameStream gives the bytes of a stream of version 1 of these frames.
func frameStream(t testing.TB, origin *v1.Digest, frames ...v1.Frame) []byte {
	t.Helper()
	return frameStreamTo(t, origin, v1.Digest{}, frames...)
}

func frameStreamTo(t testing.TB, origin *v1.Digest, target v1.Digest, frames ...v1.Frame) []byte {
	t.Helper()
	header := v1.Header{Origin: origin, Target: target, ContentLimit: v1.MaxContent, SourceLimit: v1.MaxSource}
	for i := range frames {
		header.Totals.Add(frames[i].Totals())
	}
	b, err := v1.AppendHeader(nil, &header)
	must(t, err)
	encoder, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false))
	must(t, err)
	pack := func(content, _ []byte) ([]byte, error) { return encoder.EncodeAll(content, nil), nil }
	for i := range frames {
		b, err = v1.AppendFrame(b, &frames[i], &header, pack)
		must(t, err)
	}
	return v1.AppendEnd(b)
}

func deployFrames(ctx context.Context, root string, stream []byte) (rootfs.Stats, error) {
	tree, err := rootfs.Open(root)
	if err != nil {
		return rootfs.Stats{}, err
	}
	defer tree.Close()
	return tree.DeployStream(ctx, bytes.NewReader(stream), rootfs.Options{})
}

// inner is the file of that name in a jail, and file the other one: they are alike.
func listed(path string) v1.File {
	return v1.File{Path: path, Size: 10, Digest: sha256.Sum256([]byte("0123456789"))}
}

func TestDeployFramesRefuses(t *testing.T) {
	private := v1.Metadata{Mode: 0o600}
	link := v1.Metadata{Mode: 0o777}
	copied := func(path v1.Path, file v1.File) v1.Frame {
		return v1.Frame{Files: []v1.File{file}, Commands: []v1.Command{
			v1.PlainFile{Path: path, Metadata: private, Size: 10, Digest: file.Digest, Parts: []v1.Part{{Kind: v1.Copy, Length: 10}}},
		}}
	}
	one := func(commands ...v1.Command) v1.Frame { return v1.Frame{Commands: commands} }
	other := listed("file")
	other.Digest[0]++
	long := listed("file")
	long.Size++
	for _, test := range []struct {
		name  string
		frame v1.Frame
		want  error
		texts []string // that the error contains
	}{
		{"path through absolute link", one(v1.Delete{Path: "absolute/inner"}), tbdiff.ErrUnsafe, []string{`DELETE for "absolute/inner"`, "symbolic link"}},
		{"path through relative link", one(v1.Delete{Path: "relative/inner"}), tbdiff.ErrUnsafe, []string{"relative", "symbolic link"}},
		{"path through link inside", one(v1.Delete{Path: "inside/inner"}), tbdiff.ErrUnsafe, []string{"inside", "symbolic link"}},
		{"path through link of the stream", one(v1.Symlink{Path: "way", Metadata: link, Target: "../outside"}, v1.Delete{Path: "way/file"}), tbdiff.ErrUnsafe, []string{"way/file", "symbolic link"}},
		{"path through directory replaced by link", one(v1.Delete{Path: "dir"}, v1.Symlink{Path: "dir", Metadata: link, Target: "../outside"}, v1.Delete{Path: "dir/file"}), tbdiff.ErrUnsafe, []string{"dir/file", "symbolic link"}},
		{"path through file", one(v1.Delete{Path: "file/x"}), rootfs.ErrOriginMismatch, []string{"file/x", "not a directory"}},
		{"path through nothing", one(v1.FIFO{Path: "no\nsuch/x", Metadata: private}), rootfs.ErrOriginMismatch, []string{`"no\nsuch/x"`, "no such file"}},

		{"copy through link", copied("new", listed("filelink")), tbdiff.ErrUnsafe, []string{`cannot read "filelink"`, "symbolic link"}},
		{"copy below link", copied("new", listed("relative/inner")), tbdiff.ErrUnsafe, []string{`cannot read "relative/inner"`, "symbolic link"}},
		{"copy of FIFO", copied("new", listed("fifo")), rootfs.ErrOriginMismatch, []string{"there is a FIFO"}},
		{"copy of device", copied("new", listed("device")), rootfs.ErrOriginMismatch, []string{"there is a character device"}},
		{"copy of directory", copied("new", listed("dir")), rootfs.ErrOriginMismatch, []string{"there is a directory"}},
		{"copy of nothing", copied("new", listed("none")), rootfs.ErrOriginMismatch, []string{`cannot read "none"`, "no such file"}},
		{"copy of other content", copied("new", other), rootfs.ErrOriginMismatch, []string{`cannot read "file"`, "its content has the digest"}},
		{"copy of longer content", copied("new", long), rootfs.ErrOriginMismatch, []string{"it has 10 bytes instead of 11"}},
		{"source of other content", v1.Frame{
			Files: []v1.File{other}, Ranges: []v1.Range{{Length: 10}}, Content: v1.Content{Size: 1, Stored: []byte("x")},
			Commands: []v1.Command{v1.PlainFile{Path: "new", Metadata: private, Size: 1, Digest: sha256.Sum256([]byte("x")), Parts: []v1.Part{{Length: 1}}}},
		}, rootfs.ErrOriginMismatch, []string{`cannot read "file"`, "its content has the digest"}},
		{"replaces other content", v1.Frame{Files: []v1.File{other}, Commands: []v1.Command{v1.FIFO{Path: "file", Metadata: private, Before: v1.Expect(0)}}},
			rootfs.ErrOriginMismatch, []string{`FIFO for "file"`, "its content has the digest"}},
		{"replaces what it made itself", v1.Frame{
			Files: []v1.File{listed("file")}, Ranges: []v1.Range{{Length: 10}}, Content: v1.Content{Size: 2, Stored: []byte("xx")},
			Commands: []v1.Command{
				v1.PlainFile{Path: "file", Metadata: private, Before: v1.Expect(0), Size: 1, Digest: sha256.Sum256([]byte("x")), Parts: []v1.Part{{Length: 1}}},
				v1.PlainFile{Path: "file", Metadata: private, Before: v1.Expect(0), Size: 1, Digest: sha256.Sum256([]byte("x")), Parts: []v1.Part{{Length: 1}}},
			},
		}, rootfs.ErrOriginMismatch, []string{`FILE for "file"`, "it has 1 bytes instead of 10"}},
		{"copies what it replaced itself", v1.Frame{
			Files: []v1.File{listed("file")}, Content: v1.Content{Size: 1, Stored: []byte("x")},
			Commands: []v1.Command{
				v1.PlainFile{Path: "file", Metadata: private, Size: 11, Digest: sha256.Sum256([]byte("0123456789x")), Parts: []v1.Part{{Kind: v1.Copy, Length: 10}, {Length: 1}}},
				v1.PlainFile{Path: "new", Metadata: private, Size: 10, Digest: listed("file").Digest, Parts: []v1.Part{{Kind: v1.Copy, Length: 10}}},
			},
		}, rootfs.ErrOriginMismatch, []string{`FILE for "new"`, `cannot read "file"`, "it has 11 bytes instead of 10"}},
		{"moves other content", v1.Frame{Files: []v1.File{other}, Commands: []v1.Command{v1.Move{Path: "new", From: "file", Moved: v1.Expect(0)}}},
			rootfs.ErrOriginMismatch, []string{`MOVE for "new"`, "its content has the digest"}},
		{"makes other content", v1.Frame{Content: v1.Content{Size: 1, Stored: []byte("y")}, Commands: []v1.Command{
			v1.PlainFile{Path: "new", Metadata: private, Size: 1, Digest: sha256.Sum256([]byte("x")), Parts: []v1.Part{{Length: 1}}},
		}}, tbdiff.ErrMalformed, []string{`FILE for "new"`, "what it makes has the digest"}},

		{"file over directory", one(v1.PlainFile{Path: "dir", Metadata: private, Digest: sha256.Sum256(nil)}), nil, []string{`FILE for "dir"`, "is a directory"}},
		{"FIFO over directory", one(v1.FIFO{Path: "dir", Metadata: private}), nil, []string{`FIFO for "dir"`, "is a directory"}},
		{"directory over file", one(v1.Directory{Path: "file", Metadata: private}), rootfs.ErrOriginMismatch, []string{"there is a plain file, not a directory"}},
		{"directory over link", one(v1.Directory{Path: "relative", Metadata: private}), tbdiff.ErrUnsafe, []string{"symbolic link"}},
		{"link to directory", one(v1.Link{Path: "new", To: "dir"}), rootfs.ErrOriginMismatch, []string{`cannot link to "dir"`, "it is a directory"}},
		{"link below link", one(v1.Link{Path: "new", To: "relative/inner"}), tbdiff.ErrUnsafe, []string{"symbolic link"}},
		{"move of directory", one(v1.Move{Path: "new", From: "dir"}), rootfs.ErrOriginMismatch, []string{`cannot move "dir"`, "it is a directory"}},
		{"move below link", one(v1.Move{Path: "new", From: "relative/inner"}), tbdiff.ErrUnsafe, []string{"symbolic link"}},
		{"metadata of nothing", one(v1.Meta{Path: "none", Mask: v1.MaskMode}), rootfs.ErrOriginMismatch, []string{"no such file"}},
		{"delete nothing", one(v1.Delete{Path: "none"}), rootfs.ErrOriginMismatch, []string{"no such file"}},
		{"device beyond the kernel", one(v1.Device{Path: "new", Metadata: private, Major: 1 << 20}), nil, []string{"no such numbers"}},

		{"program that is a link", v1.Frame{Files: []v1.File{listed("filelink")}, Commands: []v1.Command{
			v1.PlainFile{Path: "new", Metadata: private, Size: 1, Parts: []v1.Part{{Kind: v1.Repack, Length: 1}, {Kind: v1.Repack}}},
		}}, tbdiff.ErrUnsafe, []string{"symbolic link"}},
		{"program of other content", v1.Frame{Files: []v1.File{other}, Commands: []v1.Command{
			v1.PlainFile{Path: "new", Metadata: private, Size: 1, Parts: []v1.Part{{Kind: v1.Repack, Length: 1}, {Kind: v1.Repack}}},
		}}, rootfs.ErrOriginMismatch, []string{"its content has the digest"}},
		{"program that cannot run", v1.Frame{Files: []v1.File{listed("file")}, Commands: []v1.Command{
			v1.PlainFile{Path: "new", Metadata: private, Size: 1, Parts: []v1.Part{{Kind: v1.Repack, Length: 1}, {Kind: v1.Repack}}},
		}}, nil, []string{`cannot pack with "file" of the tree`}},
		{"packed file that is not", v1.Frame{
			Files:  []v1.File{{Path: "file", Size: 10, Digest: listed("file").Digest, View: v1.View{Method: v1.ByGzip, Length: 10, Size: 5}}},
			Ranges: []v1.Range{{Length: 5}}, Commands: []v1.Command{v1.FIFO{Path: "new", Metadata: private}},
		}, nil, []string{`cannot unpack "file"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := newJail(t)
			before := describe(t, j.outside)
			_, err := deployFrames(t.Context(), j.root, frameStream(t, &v1.Digest{}, test.frame))
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
			var located *v1.FrameError
			if !errors.As(err, &located) || located.Number != 1 {
				t.Errorf("error %#v does not say where it arose", err)
			}
			for _, text := range test.texts {
				if err != nil && !strings.Contains(err.Error(), text) {
					t.Errorf("error is %q, want it to hold %q", err, text)
				}
			}
			if diff := cmp.Diff(before, describe(t, j.outside)); diff != "" {
				t.Errorf("something outside was touched (-before +after):\n%s", diff)
			}
			expectNoTemporaries(t, j.root)
		})
	}
}

// Nothing that is mounted in the tree is read, changed or deleted.
func TestDeployFramesRefusesMounts(t *testing.T) {
	private := v1.Metadata{Mode: 0o600}
	for name, frame := range map[string]v1.Frame{
		"path":     {Commands: []v1.Command{v1.Delete{Path: "dir/inner"}}},
		"delete":   {Commands: []v1.Command{v1.Delete{Path: "dir"}}},
		"metadata": {Commands: []v1.Command{v1.Meta{Path: "dir", Mask: v1.MaskMode, Metadata: private}}},
		"replace":  {Commands: []v1.Command{v1.FIFO{Path: "file", Metadata: private}}},
		"link":     {Commands: []v1.Command{v1.Link{Path: "new", To: "file"}}},
		"move":     {Commands: []v1.Command{v1.Move{Path: "new", From: "file"}}},
		"copy": {Files: []v1.File{listed("file")}, Commands: []v1.Command{
			v1.PlainFile{Path: "new", Metadata: private, Size: 10, Digest: listed("file").Digest, Parts: []v1.Part{{Kind: v1.Copy, Length: 10}}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJail(t)
			bind(t, j.outside+"/dir", j.root+"/dir")
			bind(t, j.outside+"/file", j.root+"/file")
			before := describe(t, j.outside)
			if _, err := deployFrames(t.Context(), j.root, frameStream(t, &v1.Digest{}, frame)); !errors.Is(err, tbdiff.ErrUnsafe) {
				t.Errorf("error is %v, want ErrUnsafe", err)
			}
			if diff := cmp.Diff(before, describe(t, j.outside)); diff != "" {
				t.Errorf("something mounted was touched (-before +after):\n%s", diff)
			}
		})
	}
}

func TestDeployFramesFromNothing(t *testing.T) {
	j := newJail(t)
	before := describe(t, j.root)
	_, err := deployFrames(t.Context(), j.root, frameStream(t, nil, v1.Frame{Commands: []v1.Command{v1.Delete{Path: "file"}}}))
	if !errors.Is(err, rootfs.ErrOriginMismatch) {
		t.Errorf("into a tree that is not empty: %v", err)
	}
	if diff := cmp.Diff(before, describe(t, j.root)); diff != "" {
		t.Errorf("the tree was changed (-before +after):\n%s", diff)
	}
}

// TestHoles makes files of data (d) and holes (.), the last of them at the end too.
func TestHoles(t *testing.T) {
	j := newJail(t)
	byteOf := map[byte]byte{'d': 'd', '.': 0}
	of := func(kinds string) []byte {
		var content []byte
		for _, kind := range []byte(kinds) {
			content = append(content, bytes.Repeat([]byte{byteOf[kind]}, 5000)...)
		}
		return content
	}
	part := func(kind byte) v1.Part {
		if kind == '.' {
			return v1.Part{Kind: v1.Hole, Length: 5000}
		}
		return v1.Part{Length: 5000}
	}
	for _, kinds := range []string{".", "d.", ".d", "d.d..", "..", ".d."} {
		for begun := range len(kinds) { // so many parts by a WRITE of their own
			content := of(kinds)
			file := v1.PlainFile{Path: "holes", Metadata: v1.Metadata{Mode: 0o600}, Size: uint64(len(content)), Digest: sha256.Sum256(content)}
			write := v1.Write{Path: "holes"}
			var data []byte
			for i := range kinds {
				if kinds[i] == 'd' {
					data = append(data, of("d")...)
				}
				if i < begun {
					write.Parts = append(write.Parts, part(kinds[i]))
				} else {
					file.Parts = append(file.Parts, part(kinds[i]))
				}
			}
			frames := []v1.Frame{{Content: v1.Content{Size: uint64(len(data)), Stored: data}, Commands: []v1.Command{file}}}
			if begun > 0 {
				inFirst := 5000 * strings.Count(kinds[:begun], "d")
				frames = []v1.Frame{
					{Content: v1.Content{Size: uint64(inFirst), Stored: data[:inFirst]}, Commands: []v1.Command{write}},
					{Content: v1.Content{Size: uint64(len(data) - inFirst), Stored: data[inFirst:]}, Commands: []v1.Command{file}},
				}
			}
			_, err := deployFrames(t.Context(), j.root, frameStream(t, &v1.Digest{}, frames...))
			must(t, err)
			got, err := os.ReadFile(j.root + "/holes")
			must(t, err)
			if !bytes.Equal(got, content) {
				t.Errorf("%q, %d parts by WRITE: %d bytes instead of %d, or others", kinds, begun, len(got), len(content))
			}
		}
	}
}

// TestParts makes files of parts of all kinds, as chance has it: small ones and large, at the limits
// of blocks and elsewhere, of two files in turn.
func TestParts(t *testing.T) {
	for _, filesystem := range []loopback.Filesystem{loopback.Btrfs, loopback.Ext4} {
		root := loopback.New(t, loopback.Options{Filesystem: filesystem, Size: 256 << 20}).Mount(t)
		chance := rand.New(rand.NewPCG(1, 2))
		old := [2][]byte{make([]byte, 300_000), make([]byte, 1_500_000)} // the other one is more than is read at once
		var files []v1.File
		for i := range old {
			for k := range old[i] {
				old[i][k] = byte(chance.Uint32())
			}
			files = append(files, v1.File{Path: fmt.Sprintf("old%d", i), Size: uint64(len(old[i])), Digest: sha256.Sum256(old[i])})
			must(t, os.WriteFile(root+"/"+files[i].Path, old[i], 0o600))
		}
		length := func() int { return []int{1, 100, 4096, 33_000, 65_536, 140_000}[chance.IntN(6)] }
		for range 200 {
			frame := v1.Frame{Files: files}
			file := v1.PlainFile{Path: "new", Metadata: v1.Metadata{Mode: 0o600}}
			var content, data []byte
			for range 1 + chance.IntN(8) {
				p := v1.Part{Length: uint64(length())}
				piece := make([]byte, p.Length)
				switch chance.IntN(4) {
				case 0:
					piece = bytes.Repeat([]byte{byte(1 + chance.IntN(255))}, len(piece))
					data = append(data, piece...)
				case 1:
					p.Kind = v1.Hole
				default:
					p.Kind, p.File = v1.Copy, chance.IntN(2)
					p.Offset = uint64(chance.IntN(len(old[p.File]) - len(piece)))
					if chance.IntN(2) == 0 {
						p.Offset &^= 4095
					}
					copy(piece, old[p.File][p.Offset:])
				}
				file.Parts = append(file.Parts, p)
				content = append(content, piece...)
			}
			file.Size, file.Digest = uint64(len(content)), sha256.Sum256(content)
			frame.Content, frame.Commands = v1.Content{Size: uint64(len(data)), Stored: data}, []v1.Command{file}
			_, err := deployFrames(t.Context(), root, frameStream(t, &v1.Digest{}, frame))
			must(t, err)
			if got := read(t, root+"/new"); got != string(content) {
				t.Fatalf("%s: what %+v make is not what it should be", filesystem, file.Parts)
			}
		}
	}
}

// TestOwners makes things that belong to others, and those that belong to who makes them.
func TestOwners(t *testing.T) {
	j := newJail(t)
	for _, owner := range [][2]uint32{{0, 0}, {7, 0}, {0, 8}, {7, 8}, {0, 0}} {
		m := v1.Metadata{Mode: 0o700, UID: owner[0], GID: owner[1]}
		_, err := deployFrames(t.Context(), j.root, frameStream(t, &v1.Digest{}, v1.Frame{Commands: []v1.Command{
			v1.PlainFile{Path: "a", Metadata: m, Digest: sha256.Sum256(nil)}, v1.Directory{Path: "b", Metadata: m},
			v1.FIFO{Path: "c", Metadata: m}, v1.Symlink{Path: "d", Metadata: v1.Metadata{Mode: 0o777, UID: m.UID, GID: m.GID}, Target: "a"},
		}}))
		must(t, err)
		for _, name := range []string{"a", "b", "c", "d"} {
			if st := lstat(t, j.root+"/"+name); st.Uid != owner[0] || st.Gid != owner[1] {
				t.Errorf("%s belongs to %d:%d, want %d", name, st.Uid, st.Gid, owner)
			}
		}
	}
}

// TestMoveOntoItself has two names of one file, where rename(2) does nothing.
func TestMoveOntoItself(t *testing.T) {
	j := newJail(t)
	must(t, os.Link(j.root+"/file", j.root+"/name"))
	_, err := deployFrames(t.Context(), j.root, frameStream(t, &v1.Digest{}, v1.Frame{Commands: []v1.Command{v1.Move{Path: "file", From: "name"}}}))
	must(t, err)
	if _, err := os.Lstat(j.root + "/name"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old name: %v", err)
	}
	if got := read(t, j.root+"/file"); got != "0123456789" {
		t.Errorf("the new name has %q", got)
	}
}

// TestLZ4 packs between two parts as they are.
func TestLZ4(t *testing.T) {
	const frame = "\x02\x21\x4c\x18\x04\x00\x00\x00\x30abc" // a legacy frame
	content := "<" + frame + ">"
	for length, want := range map[int]error{len(frame): nil, len(frame) - 1: packed.ErrOther, len(frame) + 1: packed.ErrOther} {
		j := newJail(t)
		_, err := deployFrames(t.Context(), j.root, frameStream(t, &v1.Digest{}, v1.Frame{
			Content: v1.Content{Size: 5, Stored: []byte("<abc>")},
			Commands: []v1.Command{v1.PlainFile{Path: "new", Metadata: v1.Metadata{Mode: 0o600}, Size: uint64(length) + 2, Digest: sha256.Sum256([]byte(content)), Parts: []v1.Part{
				{Kind: v1.Data, Length: 1}, {Kind: v1.Repack, Length: uint64(length), By: v1.ByLZ4}, {Kind: v1.Data, Length: 3}, {Kind: v1.Repack}, {Kind: v1.Data, Length: 1},
			}}},
		}))
		if !errors.Is(err, want) {
			t.Errorf("%d bytes: %v", length, err)
		}
		if got, _ := os.ReadFile(j.root + "/new"); err == nil && string(got) != content {
			t.Errorf("it makes %q", got)
		}
	}
}

// TestPackerThatGivesOther has a program that gives less and more than it should.
func TestPackerThatGivesOther(t *testing.T) {
	// A static program, since the jail has no libraries.
	busybox, err := os.ReadFile("/bin/busybox")
	must(t, err)
	program := v1.File{Path: "cat", Size: uint64(len(busybox)), Digest: sha256.Sum256(busybox)}
	for length, want := range map[uint64]error{3: nil, 2: packed.ErrOther, 4: packed.ErrOther} {
		j := newJail(t)
		must(t, os.WriteFile(j.root+"/cat", busybox, 0o755))
		// The file is there, however much the stream says.
		size := length
		_, err := deployFrames(t.Context(), j.root, frameStream(t, &v1.Digest{}, v1.Frame{
			Files: []v1.File{program}, Content: v1.Content{Size: 3, Stored: []byte("abc")},
			Commands: []v1.Command{v1.PlainFile{Path: "new", Metadata: v1.Metadata{Mode: 0o600}, Size: size, Digest: sha256.Sum256([]byte("abc")), Parts: []v1.Part{
				{Kind: v1.Repack, Length: length}, {Kind: v1.Data, Length: 3}, {Kind: v1.Repack},
			}}},
		}))
		if !errors.Is(err, want) {
			t.Errorf("%d bytes: %v", length, err)
		}
		if want == nil {
			if got := read(t, j.root+"/new"); got != "abc" {
				t.Errorf("it made %q", got)
			}
		}
		expectNoTemporaries(t, j.root)
	}
}

// TestMetaKeepsWhatTheKernelTakes changes only the owner of a file.
func TestMetaKeepsWhatTheKernelTakes(t *testing.T) {
	j := newJail(t)
	file := j.root + "/file"
	must(t, unix.Chmod(file, 0o6755))
	capability := []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	must(t, unix.Setxattr(file, "security.capability", capability, 0))
	_, err := deployFrames(t.Context(), j.root, frameStream(t, &v1.Digest{}, v1.Frame{Commands: []v1.Command{
		v1.Meta{Path: "file", Mask: v1.MaskUID, Metadata: v1.Metadata{UID: 7}},
	}}))
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Stat(file, &st))
	if st.Uid != 7 || st.Mode&0o7777 != 0o6755 {
		t.Errorf("owner %d, mode %#o", st.Uid, st.Mode)
	}
	got := make([]byte, 64)
	n, err := unix.Getxattr(file, "security.capability", got)
	if err != nil || !bytes.Equal(got[:n], capability) {
		t.Errorf("capabilities are %x, %v", got[:max(n, 0)], err)
	}
}

// fuzzFrames is a frame that fits the jail of the fuzzers, with commands that are a changed
// byte away from a way out.
func fuzzFrames() v1.Frame {
	return v1.Frame{
		Files: []v1.File{listed("f"), listed("d/f")}, Ranges: []v1.Range{{Length: 10}},
		Content: v1.Content{Size: 3, Stored: []byte("abc")},
		Commands: []v1.Command{
			v1.Directory{Path: "b", Metadata: v1.Metadata{Mode: 0o755}},
			v1.PlainFile{Path: "b/b", Metadata: v1.Metadata{Mode: 0o600}, Size: 13, Digest: sha256.Sum256([]byte("abc0123456789")), Parts: []v1.Part{
				{Kind: v1.Data, Length: 3}, {Kind: v1.Copy, Length: 10, File: 1},
			}},
			v1.Symlink{Path: "b/c", Metadata: v1.Metadata{Mode: 0o777}, Target: "../../outside"},
			v1.Link{Path: "b/d", To: "f"}, v1.Move{Path: "b/e", From: "f", Moved: v1.Expect(0)},
			v1.FIFO{Path: "p", Metadata: v1.Metadata{Mode: 0o644}}, v1.Delete{Path: "d"},
			v1.Meta{Mask: v1.MaskTime, Metadata: v1.Metadata{Seconds: 5}},
		},
	}
}

// FuzzDeployFrames carries out what a fuzzer makes of a stream, in a jail.
func FuzzDeployFrames(f *testing.F) {
	base := inMemory(f)
	if _, err := deployFrames(f.Context(), fuzzJail(f, base).root, frameStream(f, &v1.Digest{}, fuzzFrames())); err != nil {
		f.Fatal(err) // it would seed nothing
	}
	f.Add(frameStream(f, &v1.Digest{}, fuzzFrames()))
	f.Add(frameStream(f, &v1.Digest{}, v1.Frame{Commands: []v1.Command{v1.Delete{Path: "l/f"}}}))
	f.Fuzz(func(t *testing.T, stream []byte) {
		j := fuzzJail(t, base)
		before, handles := describe(t, j.outside), openHandles(t)
		_, _ = deployFrames(t.Context(), j.root, stream)
		if diff := cmp.Diff(before, describe(t, j.outside)); diff != "" {
			t.Errorf("something outside was touched (-before +after):\n%s", diff)
		}
		if now := openHandles(t); now != handles {
			t.Errorf("%d handles were left open", now-handles)
		}
	})
}
