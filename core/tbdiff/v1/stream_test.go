package v1_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// pack packs as a stream's writer has to.
func pack(t testing.TB) v1.Pack {
	return func(content, dictionary []byte) ([]byte, error) {
		options := []zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false)}
		if len(dictionary) > 0 {
			options = append(options, zstd.WithEncoderDictRaw(0, dictionary))
		}
		encoder, err := zstd.NewWriter(nil, options...)
		if err != nil {
			t.Fatal(err)
		}
		defer encoder.Close()
		return encoder.EncodeAll(content, nil), nil
	}
}

// everything has each command, and each kind of part and of number.
func everything() []v1.Frame {
	meta := v1.Metadata{Mode: 0o4755, UID: 1000, GID: 4294967294, Seconds: -5, Nanoseconds: 999_999_999}
	labelled := meta
	labelled.Attributes = []v1.Attribute{{Name: "security.capability", Value: []byte{1, 0}}, {Name: "user.empty", Value: []byte{}}}
	link := meta
	link.Mode = 0o777
	return []v1.Frame{
		{
			Files: []v1.File{
				{Path: "lib/a.so.1", Size: 1 << 40, Digest: v1.Digest{1}},
				{Path: "lib/b", Size: 70, Digest: v1.Digest{2}},
				{Path: "lib/b", Size: 70, Digest: v1.Digest{2}, View: v1.View{Method: v1.ByGzip, Offset: 10, Length: 60, Size: 1000}},
			},
			Ranges: []v1.Range{{File: 0, Offset: 1 << 39, Length: 10}, {File: 1, Length: 70}, {File: 0, Offset: 3, Length: 7}, {File: 2, Offset: 900, Length: 100}},
			Commands: []v1.Command{
				v1.Directory{Path: "lib", Metadata: labelled},
				v1.PlainFile{Path: "lib/a.so.2", Metadata: labelled, Before: v1.Expect(0), Size: 1<<40 + 5, Digest: v1.Digest{3}, Parts: []v1.Part{
					{Kind: v1.Data, Length: 5},
					{Kind: v1.Copy, Length: 1 << 39, File: 0, Offset: 1 << 39},
					{Kind: v1.Hole, Length: 1 << 39},
				}},
				v1.Symlink{Path: "lib/\xff\\", Metadata: link, Target: "../x"},
				v1.Device{Path: "lib/c", Metadata: meta, Major: 1 << 31, Minor: 4294967295},
				v1.Device{Path: "lib/d", Metadata: meta, Block: true, Major: 8, Minor: 1},
				v1.FIFO{Path: "lib/e", Metadata: meta, Before: v1.Expect(1)},
				v1.Link{Path: "lib/f", To: "lib/a.so.2"},
				v1.Move{Path: "lib/g", Before: v1.Expect(0), Moved: v1.Expect(1), From: "lib/b"},
				v1.Write{Path: "lib/h", Parts: []v1.Part{
					{Kind: v1.Data, Length: 1},
					{Kind: v1.Repack, Length: 3, File: 0, Offset: 10, Arguments: []string{"-9", ""}},
					{Kind: v1.Data, Length: 1}, {Kind: v1.Copy, Length: 1, File: 1, Offset: 69},
				}},
			},
			Content: v1.Content{Size: 7, Stored: []byte("content")},
		},
		{
			Commands: []v1.Command{
				v1.PlainFile{Path: "lib/h", Metadata: meta, Size: 4, Digest: v1.Digest{4}, Parts: []v1.Part{{Kind: v1.Hole, Length: 7}, {Kind: v1.Repack}}},
				v1.PlainFile{Path: "lib/i", Metadata: meta},
				v1.PlainFile{Path: "lib/k", Metadata: meta, Size: 6, Parts: []v1.Part{
					{Kind: v1.Hole, Length: 1}, {Kind: v1.Repack, Length: 4, By: v1.ByLZ4}, {Kind: v1.Hole, Length: 9}, {Kind: v1.Repack}, {Kind: v1.Hole, Length: 1},
				}},
				v1.Delete{Path: "old/tree"},
				v1.Meta{Path: "lib", Mask: v1.MaskTime, Metadata: v1.Metadata{Seconds: 1 << 40, Nanoseconds: 1}},
				v1.Meta{Path: "", Mask: v1.MaskMode | v1.MaskUID | v1.MaskGID | v1.MaskAttributes, Metadata: v1.Metadata{Mode: 0o755, UID: 1, GID: 2}},
			},
		},
	}
}

// headerOf gives a header that fits the frames.
func headerOf(frames []v1.Frame) v1.Header {
	h := v1.Header{Origin: &v1.Digest{9}, Target: v1.Digest{8}, ContentLimit: v1.MaxContent, SourceLimit: v1.MaxSource}
	for i := range frames {
		h.Totals.Add(frames[i].Totals())
	}
	return h
}

func write(t testing.TB, header v1.Header, frames []v1.Frame) []byte {
	t.Helper()
	b, err := v1.AppendHeader(nil, &header)
	if err != nil {
		t.Fatal(err)
	}
	for i := range frames {
		if b, err = v1.AppendFrame(b, &frames[i], &header, pack(t)); err != nil {
			t.Fatal(err)
		}
	}
	return v1.AppendEnd(b)
}

// read gives all frames of a stream, with copies of what is stored of their content.
func read(stream []byte) (v1.Header, []v1.Frame, error) {
	r, err := v1.NewReader(iotestOneByte{bytes.NewReader(stream)})
	if err != nil {
		return v1.Header{}, nil, err
	}
	var frames []v1.Frame
	for {
		frame, err := r.Next()
		if err == io.EOF {
			return r.Header(), frames, nil
		}
		if err != nil {
			return r.Header(), frames, err
		}
		frame.Content.Stored = bytes.Clone(frame.Content.Stored)
		frames = append(frames, *frame)
	}
}

// iotestOneByte gives little at a time, as a network does.
type iotestOneByte struct{ io.Reader }

func (o iotestOneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(len(p), 7)]) }

func TestWhatIsWrittenIsRead(t *testing.T) {
	wanted := everything()
	stream := write(t, headerOf(wanted), wanted)
	header, frames, err := read(stream)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(headerOf(wanted), header); diff != "" {
		t.Errorf("header (-written +read):\n%s", diff)
	}
	for i := range wanted {
		// What there is none of is nil or empty.
		if diff := cmp.Diff(wanted[i], frames[i], cmp.Transformer("bytes", func(b []byte) string { return string(b) })); diff != "" {
			t.Errorf("frame %d (-written +read):\n%s", i, diff)
		}
	}
	if again := write(t, header, frames); !bytes.Equal(again, stream) {
		t.Error("what was read is written otherwise")
	}
}

func TestEveryCutIsNoticed(t *testing.T) {
	frames := everything()
	stream := write(t, headerOf(frames), frames)
	for n := range stream {
		if _, _, err := read(stream[:n]); !errors.Is(err, tbdiff.ErrTruncated) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(stream), err)
		}
	}
	if _, _, err := read(append(stream, 0)); !errors.Is(err, tbdiff.ErrMalformed) {
		t.Errorf("with a byte behind its end: %v", err)
	}
}

// TestEveryChangedByteIsHarmless changes each byte of a stream: the reader refuses it,
// or gives frames that fit the format.
func TestEveryChangedByteIsHarmless(t *testing.T) {
	frames := everything()
	stream := write(t, headerOf(frames), frames)
	for i := range stream {
		for _, change := range []byte{1, 0x80, 0xff} {
			changed := bytes.Clone(stream)
			changed[i] ^= change
			header, frames, err := read(changed)
			if err != nil {
				if !errors.Is(err, tbdiff.ErrMalformed) && !errors.Is(err, tbdiff.ErrTruncated) && !errors.Is(err, tbdiff.ErrUnsafe) {
					t.Fatalf("byte %d changed: %v", i, err)
				}
				continue
			}
			write(t, header, frames)
		}
	}
}

func TestRefused(t *testing.T) {
	file := v1.PlainFile{Path: "f", Size: 1, Parts: []v1.Part{{Kind: v1.Hole, Length: 1}}}
	one := func(c v1.Command) v1.Frame { return v1.Frame{Commands: []v1.Command{c}} }
	reading := func(files []v1.File, ranges []v1.Range) v1.Frame {
		return v1.Frame{Files: files, Ranges: ranges, Commands: []v1.Command{file}}
	}
	at := func(path v1.Path) v1.Frame { return one(v1.Delete{Path: path}) }
	for name, c := range map[string]struct {
		frame  v1.Frame
		reason string
	}{
		"no commands":             {v1.Frame{}, "no commands"},
		"path upwards":            {at("a/../b"), `".."`},
		"path at itself":          {at("a/."), `"."`},
		"path from the root":      {at("/etc"), "empty"},
		"path with nothing":       {at("a//b"), "empty"},
		"path with NUL":           {at("a\x00"), "NUL"},
		"long name":               {at(v1.Path(strings.Repeat("x", 256))), "256 bytes"},
		"long path":               {at(v1.Path(strings.Repeat("x/", 1<<15) + "x")), "65537 bytes"},
		"top deleted":             {at(""), "the top itself"},
		"top read":                {reading([]v1.File{{Size: 1}}, nil), "the top itself"},
		"file list upwards":       {reading([]v1.File{{Path: "../x"}}, nil), `".."`},
		"link to itself":          {one(v1.Link{Path: "a", To: "a"}), "the same"},
		"link outwards":           {one(v1.Link{Path: "a", To: "../a"}), `".."`},
		"move outwards":           {one(v1.Move{Path: "a", From: "b/../../c"}), `".."`},
		"type bits":               {one(v1.FIFO{Path: "a", Metadata: v1.Metadata{Mode: 0o100644}}), "no mode bits"},
		"second of nanoseconds":   {one(v1.FIFO{Path: "a", Metadata: v1.Metadata{Nanoseconds: 1e9}}), "nanoseconds"},
		"owner nobody can be":     {one(v1.FIFO{Path: "a", Metadata: v1.Metadata{UID: 4294967295}}), "owner"},
		"attributes twice":        {one(v1.FIFO{Path: "a", Metadata: v1.Metadata{Attributes: []v1.Attribute{{Name: "user.a"}, {Name: "user.a"}}}}), "in order"},
		"link's mode":             {one(v1.Symlink{Path: "a", Metadata: v1.Metadata{Mode: 0o755}, Target: "b"}), "mode"},
		"link to nothing":         {one(v1.Symlink{Path: "a", Metadata: v1.Metadata{Mode: 0o777}}), "empty"},
		"empty mask":              {one(v1.Meta{Path: "a"}), "no mask"},
		"unknown mask":            {one(v1.Meta{Path: "a", Mask: 32}), "no mask"},
		"part of nothing":         {one(v1.PlainFile{Path: "a", Parts: []v1.Part{{Kind: v1.Hole}}}), "0 bytes"},
		"unknown packing":         {reading([]v1.File{{Path: "a", Size: 4, View: v1.View{Method: 9}}}, nil), "not known"},
		"packed outside":          {reading([]v1.File{{Path: "a", Size: 4, View: v1.View{Method: 1, Offset: 3, Length: 2}}}, nil), "does not lie"},
		"copy of what is packed":  {v1.Frame{Files: []v1.File{{Path: "a", Size: 4, View: v1.View{Method: 1, Length: 4, Size: 9}}}, Commands: []v1.Command{v1.PlainFile{Path: "b", Size: 1, Parts: []v1.Part{{Kind: v1.Copy, Length: 1}}}}}, "a copy of what is packed"},
		"program from no file":    {one(v1.PlainFile{Path: "a", Size: 1, Parts: []v1.Part{{Kind: v1.Repack, Length: 1}, {Kind: v1.Repack}}}), "no program"},
		"unknown packer":          {one(v1.PlainFile{Path: "a", Size: 1, Parts: []v1.Part{{Kind: v1.Repack, Length: 1, By: v1.ByGzip}, {Kind: v1.Repack}}}), "nobody packs"},
		"content left":            {v1.Frame{Commands: []v1.Command{file}, Content: v1.Content{Size: 1, Stored: []byte("x")}}, "it has 1"},
		"content missing":         {one(v1.PlainFile{Path: "a", Size: 1, Parts: []v1.Part{{Length: 1}}}), "use 1"},
		"expects no file":         {one(v1.PlainFile{Path: "a", Before: 1}), "lists 0"},
		"copy from no file":       {one(v1.PlainFile{Path: "a", Size: 1, Parts: []v1.Part{{Kind: v1.Copy, Length: 1}}}), "lists 0"},
		"range behind the end":    {reading([]v1.File{{Path: "a", Size: 4}}, []v1.Range{{Offset: 3, Length: 2}}), "no range"},
		"range that overflows":    {reading([]v1.File{{Path: "a", Size: 4}}, []v1.Range{{Offset: 3, Length: 1<<64 - 1}}), "no range"},
		"too much source":         {reading([]v1.File{{Path: "a", Size: 1 << 40}}, []v1.Range{{Length: v1.MaxSource}, {Length: 1}}), "for its content"},
		"commands after a WRITE":  {v1.Frame{Commands: []v1.Command{v1.Write{Path: "a"}, file}}, "not the last"},
		"file of impossible size": {reading([]v1.File{{Path: "a", Size: 1 << 63}}, nil), "that large"},
	} {
		t.Run(name, func(t *testing.T) {
			frames := []v1.Frame{c.frame}
			header := headerOf(frames)
			if _, err := v1.AppendFrame(nil, &c.frame, &header, pack(t)); err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("the error %v does not speak of %s", err, c.reason)
			}
		})
	}
}

// TestRefusedInARow are frames that are right by themselves.
func TestRefusedInARow(t *testing.T) {
	begun := v1.Write{Path: "a", Parts: []v1.Part{{Kind: v1.Hole, Length: 1}}}
	ended := v1.PlainFile{Path: "a", Size: 2, Parts: []v1.Part{{Kind: v1.Hole, Length: 1}}}
	long := v1.Write{Path: "a", Parts: []v1.Part{{Kind: v1.Hole, Length: 1<<62 - 1}}}
	for name, c := range map[string]struct {
		commands []v1.Command
		totals   func(*v1.Totals)
		reason   string
	}{
		"begun and left":     {[]v1.Command{begun}, nil, `within the file "a"`},
		"begun and another":  {[]v1.Command{begun, v1.Delete{Path: "b"}}, nil, `"a" was begun`},
		"begun and deleted":  {[]v1.Command{begun, v1.Delete{Path: "a"}}, nil, `"a" was begun`},
		"too few parts":      {[]v1.Command{v1.PlainFile{Path: "a", Size: 2}}, nil, "parts have 0"},
		"more than the file": {[]v1.Command{v1.PlainFile{Path: "a", Size: 1, Parts: []v1.Part{{Kind: v1.Hole, Length: 2}}}}, nil, "parts have 2"},
		"packed, no end":     {[]v1.Command{v1.PlainFile{Path: "a", Size: 1, Parts: []v1.Part{{Kind: v1.Repack, Length: 1}}}}, nil, "parts have 1"},
		"packed twice":       {[]v1.Command{v1.PlainFile{Path: "a", Size: 2, Parts: []v1.Part{{Kind: v1.Repack, Length: 1}, {Kind: v1.Repack, Length: 1}}}}, nil, "twice"},
		"ended only":         {[]v1.Command{v1.PlainFile{Path: "a", Parts: []v1.Part{{Kind: v1.Repack}}}}, nil, "twice"},
		"too many parts":     {[]v1.Command{begun, begun, ended}, nil, "parts have 3"},
		"larger than can be": {[]v1.Command{long, long, long}, nil, "that large"},
		"expects too late":   {[]v1.Command{begun, v1.PlainFile{Path: "a", Before: 1, Size: 1}}, nil, "begun already"},
		"more than it says":  {[]v1.Command{begun, ended}, func(t *v1.Totals) { t.Commands-- }, "more than the header"},
		"less than it says":  {[]v1.Command{begun, ended}, func(t *v1.Totals) { t.Written++ }, "less than the header"},
	} {
		t.Run(name, func(t *testing.T) {
			var frames []v1.Frame
			for _, command := range c.commands {
				frames = append(frames, v1.Frame{Files: []v1.File{{Path: "a"}}, Commands: []v1.Command{command}})
			}
			header := headerOf(frames)
			if c.totals != nil {
				c.totals(&header.Totals)
			}
			if _, _, err := read(write(t, header, frames)); !errors.Is(err, tbdiff.ErrMalformed) || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("the error %v does not speak of %s", err, c.reason)
			}
		})
	}
}

func TestOtherStreamsAreRefused(t *testing.T) {
	for name, stream := range map[string]string{
		"version 0": "\x00\x12\x00Codethink:TBDIFFv0\x01", "text": "hello, world", "version 2": "TBDIFF2\n\x00\x00",
	} {
		if _, _, err := read([]byte(stream)); !errors.Is(err, tbdiff.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	frames := everything()
	stream := write(f, headerOf(frames), frames)
	f.Add(stream)
	f.Add(stream[:len(stream)/2])
	f.Fuzz(func(t *testing.T, stream []byte) {
		header, frames, err := read(stream)
		if err != nil {
			return
		}
		again := write(t, header, frames)
		_, same, err := read(again)
		if err != nil {
			t.Fatalf("what was read and written cannot be read: %v", err)
		}
		if diff := cmp.Diff(frames, same); diff != "" {
			t.Errorf("what was read, written and read differs:\n%s", diff)
		}
	})
}
