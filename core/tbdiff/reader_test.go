package tbdiff_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// Modes as they stand in streams.
const (
	file    = 0o100644
	dir     = 0o040755
	fifo    = 0o010600
	char    = 0o020600
	block   = 0o060600
	symlink = 0o120777
	socket  = 0o140755
)

// raw puts together bytes as they stand in a stream: an Opcode is one byte, a string
// has its length before it, []byte is taken as it is, numbers are little-endian.
func raw(fields ...any) []byte {
	var b []byte
	for _, f := range fields {
		switch v := f.(type) {
		case tbdiff.Opcode:
			b = append(b, byte(v))
		case string:
			b = append(binary.LittleEndian.AppendUint16(b, uint16(len(v))), v...)
		case []byte:
			b = append(b, v...)
		case uint16:
			b = binary.LittleEndian.AppendUint16(b, v)
		case int:
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		case uint32:
			b = binary.LittleEndian.AppendUint32(b, v)
		case uint64:
			b = binary.LittleEndian.AppendUint64(b, v)
		default:
			panic(f)
		}
	}
	return b
}

// body is a stream with IDENTIFY before the fields and UPDATE behind them.
func body(fields ...any) []byte {
	return append(append(raw(tbdiff.OpIdentify, "Codethink:TBDIFFv0"), raw(fields...)...), byte(tbdiff.OpUpdate))
}

const now = uint64(1700000000)

// every command, as bytes and as values.
var every = []struct {
	name string
	raw  []byte
	want []step
}{
	{"nothing", body(), nil},
	{"DIR_CREATE", body(tbdiff.OpDirCreate, "d", now, 1, 2, dir), []step{{tbdiff.DirCreate{Name: "d", Mtime: now, UID: 1, GID: 2, Mode: dir}, ""}}},
	{"DIR_ENTER and DIR_LEAVE", body(tbdiff.OpDirEnter, "d", tbdiff.OpDirLeave, now), []step{{tbdiff.DirEnter{Name: "d"}, ""}, {tbdiff.DirLeave{Mtime: now}, ""}}},
	{"DIR_DELTA", body(tbdiff.OpDirDelta, uint16(7), now, 1, 2, dir, "d"), []step{{tbdiff.DirDelta{Mask: tbdiff.MaskMtime | tbdiff.MaskMode | tbdiff.MaskUID, Mtime: now, UID: 1, GID: 2, Mode: dir, Name: "d"}, ""}}},
	{"FILE_CREATE", body(tbdiff.OpFileCreate, "f", now, file, 1, 2, 3, []byte("abc")), []step{{tbdiff.FileCreate{Name: "f", Mtime: now, Mode: file, UID: 1, GID: 2, Size: 3}, "abc"}}},
	{"FILE_DELTA", body(tbdiff.OpFileDelta, "f", uint16(8), now, 1, 2, file, 5, 6, 2, []byte("xy")), []step{{tbdiff.FileDelta{Name: "f", Mask: tbdiff.MaskGID, Mtime: now, UID: 1, GID: 2, Mode: file, Start: 5, End: 6, Size: 2}, "xy"}}},
	{"FILE_METADATA_UPDATE", body(tbdiff.OpFileMetadata, uint16(16), now, 1, 2, file, "f"), []step{{tbdiff.FileMetadata{Mask: tbdiff.MaskRdev, Mtime: now, UID: 1, GID: 2, Mode: file, Name: "f"}, ""}}},
	{"ENTITY_DELETE", body(tbdiff.OpEntityDelete, "e"), []step{{tbdiff.EntityDelete{Name: "e"}, ""}}},
	{"SYMLINK_CREATE", body(tbdiff.OpSymlinkCreate, now, 1, 2, "l", "../t"), []step{{tbdiff.SymlinkCreate{Mtime: now, UID: 1, GID: 2, Name: "l", Target: "../t"}, ""}}},
	{"SPECIAL_CREATE", body(tbdiff.OpSpecialCreate, "s", now, block, 1, 2, 0x801), []step{{tbdiff.SpecialCreate{Name: "s", Mtime: now, Mode: block, UID: 1, GID: 2, Rdev: 0x801}, ""}}},
	{"XATTRS_UPDATE", body(tbdiff.OpXattrsUpdate, "f", 2, "user.a", uint64(0), "user.b", uint64(2), []byte("vw")), []step{{tbdiff.XattrsUpdate{Name: "f", Attributes: []tbdiff.Xattr{{Name: "user.a", Value: []byte{}}, {Name: "user.b", Value: []byte("vw")}}}, ""}}},
	{"XATTRS_UPDATE of none", body(tbdiff.OpXattrsUpdate, "f", 0), []step{{tbdiff.XattrsUpdate{Name: "f"}, ""}}},
}

func TestEveryCommand(t *testing.T) {
	for _, test := range every {
		t.Run(test.name, func(t *testing.T) {
			want := append(append([]step{{tbdiff.Identify{}, ""}}, test.want...), step{tbdiff.Update{}, ""})
			// One byte at a time, as from a slow pipe.
			got, err := decode(iotest.OneByteReader(bytes.NewReader(test.raw)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("commands differ (-want +got):\n%s", diff)
			}
			b, err := encode(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.raw, b); diff != "" {
				t.Errorf("bytes differ (-want +got):\n%s", diff)
			}
			for n := range test.raw {
				if _, err := decode(bytes.NewReader(test.raw[:n])); !errors.Is(err, tbdiff.ErrTruncated) {
					t.Errorf("cut at byte %d: error is %v, want ErrTruncated", n, err)
				}
			}
		})
	}
}

// What the C tool writes and our Writer does not.
func TestReaderAccepts(t *testing.T) {
	for name, stream := range map[string][]byte{
		"a socket":                 body(tbdiff.OpSpecialCreate, "s", now, socket, 0, 0, 0),
		"attributes in any order":  body(tbdiff.OpXattrsUpdate, "f", 2, "user.b", uint64(2), []byte("vw"), "user.a", uint64(1), []byte("v")),
		"largest attribute":        body(tbdiff.OpXattrsUpdate, "f", 1, "user.b", uint64(65536), bytes.Repeat([]byte("v"), 65536)),
		"longest name":             body(tbdiff.OpEntityDelete, strings.Repeat("n", 255)),
		"longest target":           body(tbdiff.OpSymlinkCreate, now, 0, 0, "l", strings.Repeat("t", 4095)),
		"strange names":            body(tbdiff.OpEntityDelete, "...", tbdiff.OpEntityDelete, "\xff\n\\", tbdiff.OpEntityDelete, "-rf", tbdiff.OpEntityDelete, " "),
		"an empty delta at an end": body(tbdiff.OpFileDelta, "f", uint16(0), now, 0, 0, file, 7, 7, 0),
	} {
		if _, err := decode(bytes.NewReader(stream)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	const huge = uint32(1<<32 - 1)
	enter := func(fields ...any) []byte {
		return body(append([]any{tbdiff.OpDirEnter, "top", tbdiff.OpDirEnter, "sub"}, fields...)...)
	}
	tests := []struct {
		name   string
		stream []byte
		want   error
		at     tbdiff.StreamError // Err is not looked at
	}{
		{"empty input", nil, tbdiff.ErrTruncated, tbdiff.StreamError{Number: 1}},
		{"another file", []byte("\x7fELF and so on"), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 1, Opcode: 0x7f}},
		{"no IDENTIFY", raw(tbdiff.OpUpdate), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 1, Opcode: tbdiff.OpUpdate}},
		{"another version", raw(tbdiff.OpIdentify, "Codethink:TBDIFFv1", tbdiff.OpUpdate), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 1}},
		{"another length", raw(tbdiff.OpIdentify, "Codethink:TBDIFFv10", tbdiff.OpUpdate), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 1}},
		{"second IDENTIFY", body(tbdiff.OpIdentify, "Codethink:TBDIFFv0"), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Offset: 21}},
		{"no UPDATE", raw(tbdiff.OpIdentify, "Codethink:TBDIFFv0"), tbdiff.ErrTruncated, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpUpdate, Offset: 21}},
		{"bytes after UPDATE", append(body(), 0), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpUpdate, Offset: 21}},
		{"second UPDATE", append(body(), byte(tbdiff.OpUpdate)), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpUpdate, Offset: 21}},
		{"UPDATE in a directory", body(tbdiff.OpDirEnter, "d"), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 3, Opcode: tbdiff.OpUpdate, Offset: 25, Path: "d"}},
		{"unknown opcode", body([]byte{0x7f}), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: 0x7f, Offset: 21}},
		{"ENTITY_MOVE", body(tbdiff.OpEntityMove, "a", "b"), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpEntityMove, Offset: 21}},
		{"ENTITY_COPY", body(tbdiff.OpEntityCopy, "a", "b"), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpEntityCopy, Offset: 21}},
		{"leaving the top", body(tbdiff.OpDirLeave, now), tbdiff.ErrUnsafe, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpDirLeave, Offset: 21}},
		{"leaving the top later", body(tbdiff.OpDirEnter, "d", tbdiff.OpDirLeave, now, tbdiff.OpDirLeave, now), tbdiff.ErrUnsafe, tbdiff.StreamError{Number: 4, Opcode: tbdiff.OpDirLeave, Offset: 34}},
		{"name with slash, deep", enter(tbdiff.OpEntityDelete, "a/b"), tbdiff.ErrUnsafe, tbdiff.StreamError{Number: 4, Opcode: tbdiff.OpEntityDelete, Offset: 33, Path: "top/sub/a/b"}},
		{"name too long", body(tbdiff.OpEntityDelete, strings.Repeat("n", 256)), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpEntityDelete, Offset: 21, Path: strings.Repeat("n", 256)}},
		{"target empty", body(tbdiff.OpSymlinkCreate, now, 0, 0, "l", ""), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpSymlinkCreate, Offset: 21, Path: "l"}},
		{"target with NUL", body(tbdiff.OpSymlinkCreate, now, 0, 0, "l", "a\x00b"), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpSymlinkCreate, Offset: 21, Path: "l"}},
		{"target too long", body(tbdiff.OpSymlinkCreate, now, 0, 0, "l", strings.Repeat("t", 4096)), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpSymlinkCreate, Offset: 21, Path: "l"}},
		{"file with a directory's mode", body(tbdiff.OpFileCreate, "f", now, dir, 0, 0, 0), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpFileCreate, Offset: 21, Path: "f"}},
		{"file without a type", body(tbdiff.OpFileCreate, "f", now, 0o644, 0, 0, 0), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpFileCreate, Offset: 21, Path: "f"}},
		{"mode with more bits", body(tbdiff.OpFileCreate, "f", now, 1<<20|file, 0, 0, 0), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpFileCreate, Offset: 21, Path: "f"}},
		{"directory with a file's mode", body(tbdiff.OpDirCreate, "d", now, 0, 0, file), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpDirCreate, Offset: 21, Path: "d"}},
		{"special with a file's mode", body(tbdiff.OpSpecialCreate, "s", now, file, 0, 0, 0), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpSpecialCreate, Offset: 21, Path: "s"}},
		{"special with a directory's mode", body(tbdiff.OpSpecialCreate, "s", now, dir, 0, 0, 0), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpSpecialCreate, Offset: 21, Path: "s"}},
		{"special with a link's mode", body(tbdiff.OpSpecialCreate, "s", now, symlink, 0, 0, 0), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpSpecialCreate, Offset: 21, Path: "s"}},
		{"special without a type", body(tbdiff.OpSpecialCreate, "s", now, 0o600, 0, 0, 0), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpSpecialCreate, Offset: 21, Path: "s"}},
		{"metadata with a FIFO's mode", body(tbdiff.OpFileMetadata, uint16(0), now, 0, 0, fifo, "f"), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpFileMetadata, Offset: 21, Path: "f"}},
		{"unknown mask", body(tbdiff.OpDirDelta, uint16(32), now, 0, 0, dir, "d"), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpDirDelta, Offset: 21, Path: "d"}},
		{"no such owner", body(tbdiff.OpDirCreate, "d", now, huge, 0, dir), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpDirCreate, Offset: 21, Path: "d"}},
		{"delta start after end", body(tbdiff.OpFileDelta, "f", uint16(0), now, 0, 0, file, 7, 6, 0), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpFileDelta, Offset: 21, Path: "f"}},
		{"delta beyond 4 GiB", body(tbdiff.OpFileDelta, "f", uint16(0), now, 0, 0, file, huge, huge, 1, []byte("x")), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpFileDelta, Offset: 21, Path: "f"}},
		{"content shorter than its size", body(tbdiff.OpFileCreate, "f", now, file, 0, 0, huge, []byte("abc")), tbdiff.ErrTruncated, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpFileCreate, Offset: 21, Path: "f"}},
		{"name longer than the stream", raw(tbdiff.OpIdentify, "Codethink:TBDIFFv0", tbdiff.OpEntityDelete, uint16(65535), []byte("abc")), tbdiff.ErrTruncated, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpEntityDelete, Offset: 21}},
		{"attributes by claim", body(tbdiff.OpXattrsUpdate, "f", huge), tbdiff.ErrTruncated, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpXattrsUpdate, Offset: 21}},
		{"attribute value by claim", body(tbdiff.OpXattrsUpdate, "f", 1, "user.a", uint64(1<<63)), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpXattrsUpdate, Offset: 21}},
		{"attribute value too long", body(tbdiff.OpXattrsUpdate, "f", 1, "user.a", uint64(65537), make([]byte, 65537)), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpXattrsUpdate, Offset: 21}},
		{"attribute without a name", body(tbdiff.OpXattrsUpdate, "f", 1, "", uint64(0)), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpXattrsUpdate, Offset: 21}},
		{"attribute name with NUL", body(tbdiff.OpXattrsUpdate, "f", 1, "user.\x00", uint64(0)), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpXattrsUpdate, Offset: 21}},
		{"attribute name too long", body(tbdiff.OpXattrsUpdate, "f", 1, strings.Repeat("u", 256), uint64(0)), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpXattrsUpdate, Offset: 21}},
		{"attribute twice", body(tbdiff.OpXattrsUpdate, "f", 2, "user.a", uint64(0), "user.a", uint64(0)), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpXattrsUpdate, Offset: 21, Path: "f"}},
		{"too many attribute names", body(tbdiff.OpXattrsUpdate, "f", 40000, bytes.Repeat(raw("x", uint64(0)), 40000)), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpXattrsUpdate, Offset: 21}},
		{"too many attribute values", body(tbdiff.OpXattrsUpdate, "f", 100, bytes.Repeat(append(raw("x", uint64(65536)), make([]byte, 65536)...), 100)), tbdiff.ErrMalformed, tbdiff.StreamError{Number: 2, Opcode: tbdiff.OpXattrsUpdate, Offset: 21}},
	}
	for _, name := range []string{"", ".", "..", "/", "a/b", "/etc", "../x", "x/..", "a\x00b", "\x00"} {
		for command, stream := range map[tbdiff.Opcode][]byte{
			tbdiff.OpDirCreate:     body(tbdiff.OpDirCreate, name, now, 0, 0, dir),
			tbdiff.OpDirEnter:      body(tbdiff.OpDirEnter, name, tbdiff.OpDirLeave, now),
			tbdiff.OpDirDelta:      body(tbdiff.OpDirDelta, uint16(0), now, 0, 0, dir, name),
			tbdiff.OpFileCreate:    body(tbdiff.OpFileCreate, name, now, file, 0, 0, 0),
			tbdiff.OpFileDelta:     body(tbdiff.OpFileDelta, name, uint16(0), now, 0, 0, file, 0, 0, 0),
			tbdiff.OpFileMetadata:  body(tbdiff.OpFileMetadata, uint16(0), now, 0, 0, file, name),
			tbdiff.OpEntityDelete:  body(tbdiff.OpEntityDelete, name),
			tbdiff.OpSymlinkCreate: body(tbdiff.OpSymlinkCreate, now, 0, 0, name, "t"),
			tbdiff.OpSpecialCreate: body(tbdiff.OpSpecialCreate, name, now, char, 0, 0, 0),
			tbdiff.OpXattrsUpdate:  body(tbdiff.OpXattrsUpdate, name, 0),
		} {
			tests = append(tests, struct {
				name   string
				stream []byte
				want   error
				at     tbdiff.StreamError
			}{command.String() + " of " + name, stream, tbdiff.ErrUnsafe, tbdiff.StreamError{Number: 2, Opcode: command, Offset: 21, Path: name}})
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := decode(bytes.NewReader(test.stream))
			if !errors.Is(err, test.want) {
				t.Fatalf("error is %v, want %v", err, test.want)
			}
			var at *tbdiff.StreamError
			if !errors.As(err, &at) {
				t.Fatalf("error %#v is no StreamError", err)
			}
			if diff := cmp.Diff(test.at, tbdiff.StreamError{Number: at.Number, Opcode: at.Opcode, Offset: at.Offset, Path: at.Path}); diff != "" {
				t.Errorf("place differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReaderRefusesDepth(t *testing.T) {
	for depth, want := range map[int]error{2048: nil, 2049: tbdiff.ErrMalformed} {
		stream := body(bytes.Repeat(raw(tbdiff.OpDirEnter, "d"), depth), bytes.Repeat(raw(tbdiff.OpDirLeave, now), depth))
		if _, err := decode(bytes.NewReader(stream)); !errors.Is(err, want) {
			t.Errorf("depth %d: error is %v, want %v", depth, err, want)
		}
	}
}

// Next skips what was not read, an error is final, and the place is right all along.
func TestReaderSkipsAndLocates(t *testing.T) {
	stream := body(tbdiff.OpDirEnter, "d", tbdiff.OpFileCreate, "f", now, file, 0, 0, 6, []byte("abcdef"), tbdiff.OpDirLeave, now, tbdiff.OpEntityDelete, "")
	r := tbdiff.NewReader(bytes.NewReader(stream))
	type place struct {
		Number int
		Opcode tbdiff.Opcode
		Offset int64
		Path   string
	}
	var places []place
	for {
		c, err := r.Next()
		number, opcode, offset := r.Position()
		places = append(places, place{number, opcode, offset, r.Path()})
		if err != nil {
			_, again := r.Next()
			if again != err {
				t.Errorf("second error is %v, want %v", again, err)
			}
			break
		}
		if _, ok := c.(tbdiff.FileCreate); ok {
			two := make([]byte, 2)
			if _, err := io.ReadFull(r.Data(), two); err != nil || string(two) != "ab" {
				t.Errorf("payload begins with %q, %v", two, err)
			}
		} else if n, err := r.Data().Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s has a payload: %d, %v", c.Opcode(), n, err)
		}
	}
	want := []place{{1, tbdiff.OpIdentify, 0, ""}, {2, tbdiff.OpDirEnter, 21, "d"}, {3, tbdiff.OpFileCreate, 25, "d"}, {4, tbdiff.OpDirLeave, 59, ""}, {5, tbdiff.OpEntityDelete, 68, ""}}
	if diff := cmp.Diff(want, places); diff != "" {
		t.Errorf("places differ (-want +got):\n%s", diff)
	}
	if err := r.Locate(io.ErrClosedPipe); err.Error() != `command 5 (ENTITY_DELETE at byte 68): io: read/write on closed pipe` {
		t.Errorf("located error is %q", err)
	}
}

// An error of the source is given as it is, wherever it strikes.
func TestReaderPassesSourceErrors(t *testing.T) {
	broken := errors.New("the line is dead")
	stream := body(tbdiff.OpFileCreate, "f", now, file, 0, 0, 3, []byte("abc"))
	for n := range len(stream) + 1 {
		_, err := decode(io.MultiReader(bytes.NewReader(stream[:n]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) || errors.Is(err, tbdiff.ErrTruncated) {
			t.Errorf("after byte %d: error is %v, want %v", n, err, broken)
		}
	}
}

// endless is a source of bytes that do not matter: what is in the buffer already.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// The largest file, and the longest claims, cost no memory.
func TestReaderMemory(t *testing.T) {
	const size = 1<<32 - 1
	for name, read := range map[string]func(io.Reader) (int64, error){
		"read": func(r io.Reader) (int64, error) {
			return io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 1<<20))
		},
		"skipped": func(io.Reader) (int64, error) { return size, nil },
	} {
		t.Run(name, func(t *testing.T) {
			head := body(tbdiff.OpFileCreate, "f", now, file, 0, 0, uint32(size))
			head = head[:len(head)-1]
			r := tbdiff.NewReader(io.MultiReader(bytes.NewReader(head), io.LimitReader(endless{}, size), bytes.NewReader([]byte{byte(tbdiff.OpUpdate)})))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for {
				c, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := c.(tbdiff.FileCreate); !ok {
					continue
				}
				if n, err := read(r.Data()); n != size || err != nil {
					t.Fatalf("read %d bytes, %v", n, err)
				}
			}
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
				t.Errorf("%d bytes were allocated", used)
			}
		})
	}
}
