package rootfs_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/trebuchet-update/tbupdate/core/rootfs"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// appended is content that is what the frame's source has and one more byte.
func appended(t testing.TB, source string, more byte) v1.Content {
	t.Helper()
	size := uint64(len(source))
	difference := v1.AppendDifference(nil, []v1.Triple{{Add: size, Insert: 1}}, make([]byte, size), []byte{more})
	encoder, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false))
	must(t, err)
	return v1.Content{Size: size + 1, Method: v1.Difference, Stored: encoder.EncodeAll(difference, nil)}
}

// whole is a file with this content that is made of all the frame's content.
func whole(path, content string) v1.PlainFile {
	return v1.PlainFile{
		Path: v1.Path(path), Metadata: v1.Metadata{Mode: 0o600}, Size: uint64(len(content)), Digest: sha256.Sum256([]byte(content)),
		Parts: []v1.Part{{Kind: v1.Data, Length: uint64(len(content))}},
	}
}

// TestFramesReadWhatTheOneBeforeMade has frames each of which reads a file as the one before it
// left it, in whatever way that came there.
func TestFramesReadWhatTheOneBeforeMade(t *testing.T) {
	private := v1.Metadata{Mode: 0o700}
	for name, test := range map[string]struct {
		at       string // where the frame before left the file
		commands func(made v1.PlainFile) []v1.Command
	}{
		"replaced": {"file", func(made v1.PlainFile) []v1.Command { return []v1.Command{made} }},
		"moved": {"file", func(made v1.PlainFile) []v1.Command {
			made.Path = "other"
			return []v1.Command{made, v1.Delete{Path: "file"}, v1.Move{Path: "file", From: "other"}}
		}},
		"linked": {"file", func(made v1.PlainFile) []v1.Command {
			made.Path = "other"
			return []v1.Command{made, v1.Link{Path: "file", To: "other"}}
		}},
		"below what was deleted": {"dir/below/file", func(made v1.PlainFile) []v1.Command {
			made.Path = "dir/below/file"
			return []v1.Command{v1.Delete{Path: "dir"}, v1.Directory{Path: "dir", Metadata: private}, v1.Directory{Path: "dir/below", Metadata: private}, made}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJail(t)
			content := "0"
			frames := []v1.Frame{{Content: v1.Content{Size: 1, Stored: []byte(content)}, Commands: test.commands(whole("file", content))}}
			for range 100 {
				more := byte(len(frames))
				frame := v1.Frame{
					Files:   []v1.File{{Path: test.at, Size: uint64(len(content)), Digest: sha256.Sum256([]byte(content))}},
					Ranges:  []v1.Range{{Length: uint64(len(content))}},
					Content: appended(t, content, more),
				}
				content += string([]byte{more})
				frame.Commands = test.commands(whole("file", content))
				frames = append(frames, frame)
			}
			stats, err := deployFrames(t.Context(), j.root, frameStream(t, &v1.Digest{}, frames...))
			must(t, err)
			if got := read(t, j.root+"/"+test.at); got != content {
				t.Errorf("it has %q", got)
			}
			if want := len(frames) * len(frames[0].Commands); stats.Commands != want {
				t.Errorf("%d commands were carried out, want %d", stats.Commands, want)
			}
			expectNoTemporaries(t, j.root)
		})
	}
}

// TestFramesReadWhatEarlierOnesMade has frames each of which reads, beside a file that stays, what frames
// some way before it made.
func TestFramesReadWhatEarlierOnesMade(t *testing.T) {
	for _, distances := range [][]int{{1}, {2}, {3}, {1, 2}, {2, 1}, {3, 2, 1}} {
		j := newJail(t)
		var contents []string
		var frames []v1.Frame
		for i := range 100 {
			frame := v1.Frame{Files: []v1.File{listed("file")}, Ranges: []v1.Range{{Length: 10}}}
			source := "0123456789"
			for _, distance := range distances {
				if i < distance {
					continue
				}
				before := contents[i-distance]
				frame.Ranges = append(frame.Ranges, v1.Range{File: len(frame.Files), Length: 1})
				frame.Files = append(frame.Files, v1.File{Path: fmt.Sprintf("made%d", (i-distance)%4), Size: uint64(len(before)), Digest: sha256.Sum256([]byte(before))})
				source += before[:1]
			}
			made := source + string([]byte{byte(i)})
			frame.Content = appended(t, source, byte(i))
			frame.Commands = []v1.Command{whole(fmt.Sprintf("made%d", i%4), made)}
			contents = append(contents, made)
			frames = append(frames, frame)
		}
		_, err := deployFrames(t.Context(), j.root, frameStream(t, &v1.Digest{}, frames...))
		must(t, err)
		for i, want := range contents[96:] {
			if got := read(t, fmt.Sprintf("%s/made%d", j.root, i)); got != want {
				t.Errorf("%d frames before: file %d has %q instead of %q", distances, i, got, want)
			}
		}
	}
}

// TestFramesWaitForTheLastChange has a frame that reads two files of the one before it, which makes one of
// them at once and the other one late; and a frame that reads what is deleted late.
func TestFramesWaitForTheLastChange(t *testing.T) {
	private := v1.Metadata{Mode: 0o700}
	var slow []v1.Command
	for i := range 300 {
		slow = append(slow, v1.FIFO{Path: v1.Path(fmt.Sprintf("pipe%d", i)), Metadata: v1.Metadata{Mode: 0o600}})
	}
	of := func(path, content string) v1.File {
		return v1.File{Path: path, Size: uint64(len(content)), Digest: sha256.Sum256([]byte(content))}
	}
	for range 10 { // it depends on who is faster
		j := newJail(t)
		first := []v1.Command{v1.Directory{Path: "made", Metadata: private}, whole("made/early", "e")}
		first = append(append(first, slow...), whole("file", "l"))
		_, err := deployFrames(t.Context(), j.root, frameStream(t, &v1.Digest{},
			v1.Frame{Content: v1.Content{Size: 2, Stored: []byte("el")}, Commands: first},
			v1.Frame{
				Files: []v1.File{of("made/early", "e"), of("file", "l")}, Ranges: []v1.Range{{Length: 1}, {File: 1, Length: 1}},
				Content: appended(t, "el", 'x'), Commands: []v1.Command{whole("read", "elx")},
			},
			v1.Frame{Commands: []v1.Command{v1.Delete{Path: "made"}}},
		))
		must(t, err)
		if got := read(t, j.root+"/read"); got != "elx" {
			t.Fatalf("it read %q", got)
		}
		late := append([]v1.Command{}, slow...)
		for i := range late {
			late[i] = v1.Delete{Path: v1.Path(slow[i].Subject())}
		}
		_, err = deployFrames(t.Context(), j.root, frameStream(t, &v1.Digest{},
			v1.Frame{Commands: append(late, v1.Delete{Path: "dir"})},
			v1.Frame{
				Files: []v1.File{listed("dir/inner")}, Ranges: []v1.Range{{Length: 10}},
				Content: appended(t, "0123456789", 'x'), Commands: []v1.Command{whole("read", "0123456789x")},
			},
		))
		if !errors.Is(err, rootfs.ErrOriginMismatch) {
			t.Fatalf("what was deleted is read: %v", err)
		}
	}
}

// TestFirstFaultIsTheOneReported has a frame that cannot be carried out, and another that cannot be
// read; and what is wrong with a frame comes out when those before it were carried out.
func TestFirstFaultIsTheOneReported(t *testing.T) {
	good := v1.Frame{Commands: []v1.Command{v1.FIFO{Path: "pipe", Metadata: v1.Metadata{Mode: 0o600}}}}
	impossible := v1.Frame{Commands: []v1.Command{v1.Delete{Path: "missing/file"}}}
	unreadable := v1.Frame{
		Files:  []v1.File{{Path: "file", Size: 10, Digest: v1.Digest{1}}},
		Ranges: []v1.Range{{Length: 10}}, Content: appended(t, "0123456789", 'a'), Commands: []v1.Command{whole("file", "0123456789a")},
	}
	var slow v1.Frame
	for i := range 300 {
		slow.Commands = append(slow.Commands, v1.FIFO{Path: v1.Path(fmt.Sprintf("pipe%d", i)), Metadata: v1.Metadata{Mode: 0o600}})
	}
	for name, test := range map[string]struct {
		frames   []v1.Frame
		number   int
		commands int
	}{
		"slow, good, unreadable":       {[]v1.Frame{slow, good, unreadable}, 3, 301},
		"slow, slow, good, impossible": {[]v1.Frame{slow, slow, good, impossible}, 4, 601},
		"impossible, unreadable":       {[]v1.Frame{impossible, unreadable}, 1, 0},
		"good, impossible":             {[]v1.Frame{good, impossible}, 2, 1},
		"good, unreadable":             {[]v1.Frame{good, unreadable}, 2, 1},
		"good, unreadable impossible":  {[]v1.Frame{good, unreadable, impossible}, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 { // it depends on who is faster
				stats, err := deployFrames(t.Context(), newJail(t).root, frameStream(t, &v1.Digest{}, test.frames...))
				var located *v1.FrameError
				if !errors.As(err, &located) || located.Number != test.number || stats.Commands != test.commands {
					t.Fatalf("error is %v after %d commands, want frame %d and %d commands", err, stats.Commands, test.number, test.commands)
				}
			}
		})
	}
}

// TestWhatIsThereIsCarriedOut has a stream that stalls: what arrived is done meanwhile.
func TestWhatIsThereIsCarriedOut(t *testing.T) {
	j := newJail(t)
	fifo := func(path string) v1.Frame {
		return v1.Frame{Commands: []v1.Command{v1.FIFO{Path: v1.Path(path), Metadata: v1.Metadata{Mode: 0o600}}}}
	}
	stream := frameStream(t, &v1.Digest{}, fifo("a"), fifo("b"))
	all := bytes.NewReader(stream)
	reader, writer := io.Pipe()
	ended := make(chan error)
	go func() {
		tree, err := rootfs.Open(j.root)
		if err == nil {
			defer tree.Close()
			_, err = tree.DeployStream(t.Context(), reader, rootfs.Options{})
		}
		ended <- err
	}()
	_, err := io.CopyN(writer, all, int64(bytes.LastIndexByte(stream, 'b'))) // not all of the second frame
	must(t, err)
	for {
		if _, err := os.Lstat(j.root + "/a"); err == nil {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v", err)
		case <-t.Context().Done():
			t.Fatal("nothing is carried out")
		case <-time.After(time.Millisecond):
		}
	}
	must(t, func() error { _, err := io.Copy(writer, all); return err }())
	must(t, writer.Close())
	must(t, <-ended)
	if _, err := os.Lstat(j.root + "/b"); err != nil {
		t.Error(err)
	}
}
