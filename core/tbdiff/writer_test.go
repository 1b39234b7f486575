package tbdiff_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

func TestWriterRefuses(t *testing.T) {
	long := strings.Repeat("x", 70000)
	tests := map[string]tbdiff.Command{
		"IDENTIFY":            tbdiff.Identify{},
		"UPDATE":              tbdiff.Update{},
		"file by Write":       tbdiff.FileCreate{Name: "f", Mode: file},
		"delta by Write":      tbdiff.FileDelta{Name: "f", Mode: file},
		"empty name":          tbdiff.EntityDelete{},
		"name with slash":     tbdiff.DirEnter{Name: "a/b"},
		"name ..":             tbdiff.DirDelta{Name: "..", Mode: dir},
		"name with NUL":       tbdiff.XattrsUpdate{Name: "a\x00"},
		"long name":           tbdiff.EntityDelete{Name: long},
		"long target":         tbdiff.SymlinkCreate{Name: "l", Target: long},
		"long attribute name": tbdiff.XattrsUpdate{Name: "f", Attributes: []tbdiff.Xattr{{Name: long}}},
		"long attribute":      tbdiff.XattrsUpdate{Name: "f", Attributes: []tbdiff.Xattr{{Name: "user.a", Value: []byte(long)}}},
		"attribute twice":     tbdiff.XattrsUpdate{Name: "f", Attributes: []tbdiff.Xattr{{Name: "user.a"}, {Name: "user.a"}}},
		"wrong mode":          tbdiff.DirCreate{Name: "d", Mode: file},
		"socket":              tbdiff.SpecialCreate{Name: "s", Mode: socket},
		"leaving the top":     tbdiff.DirLeave{},
	}
	for name, command := range tests {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w := tbdiff.NewWriter(&b)
			err := w.Write(command)
			if err == nil || !strings.Contains(err.Error(), command.Opcode().String()) {
				t.Errorf("error is %v, want one that names %s", err, command.Opcode())
			}
			if again := w.Close(); again != err {
				t.Errorf("Close gives %v, want the first error", again)
			}
			if b.Len() > 0 {
				t.Errorf("%d bytes of a useless stream were written", b.Len())
			}
		})
	}
}

func TestWriterRefusesContent(t *testing.T) {
	broken := errors.New("bad sector")
	create := tbdiff.FileCreate{Name: "f", Mode: file, Size: 3}
	tests := []struct {
		name    string
		command tbdiff.Command
		content io.Reader
		want    string
	}{
		{"too short", create, strings.NewReader("ab"), "ends after 2 of 3 bytes"},
		{"too long", create, strings.NewReader("abcd"), "longer than 3 bytes"},
		{"too long for nothing", tbdiff.FileDelta{Name: "f", Mode: file}, strings.NewReader("a"), "longer than 0 bytes"},
		{"unreadable", create, io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken)), "bad sector"},
		{"unreadable at its end", create, io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), "bad sector"},
		{"not for this command", tbdiff.EntityDelete{Name: "f"}, strings.NewReader(""), "has no content"},
		{"backwards", tbdiff.FileDelta{Name: "f", Mode: file, Start: 2, End: 1}, strings.NewReader(""), "after its end"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := tbdiff.NewWriter(io.Discard)
			if err := w.WriteData(test.command, test.content); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestWriterClose(t *testing.T) {
	w := tbdiff.NewWriter(io.Discard)
	if err := w.Write(tbdiff.DirEnter{Name: "d"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("closed inside a directory")
	}
	w = tbdiff.NewWriter(io.Discard)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(tbdiff.EntityDelete{Name: "x"}); err == nil {
		t.Error("wrote after Close")
	}
}

// full takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWriterPassesSinkErrors(t *testing.T) {
	w := tbdiff.NewWriter(full{})
	if err := w.Close(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error is %v, want %v", err, io.ErrShortWrite)
	}
}

// The C tool needs the smallest value first. The caller's order stays as it is.
func TestWriterSortsXattrs(t *testing.T) {
	given := []tbdiff.Xattr{{Name: "user.c", Value: []byte("22")}, {Name: "user.b", Value: []byte("1")}, {Name: "user.d", Value: []byte{}}, {Name: "user.a", Value: []byte("1")}}
	kept := append([]tbdiff.Xattr{}, given...)
	b, err := encode([]step{{tbdiff.XattrsUpdate{Name: "f", Attributes: given}, ""}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(kept, given); diff != "" {
		t.Errorf("the caller's attributes changed (-before +after):\n%s", diff)
	}
	want := body(tbdiff.OpXattrsUpdate, "f", 4, "user.d", uint64(0), "user.a", uint64(1), []byte("1"), "user.b", uint64(1), []byte("1"), "user.c", uint64(2), []byte("22"))
	if diff := cmp.Diff(want, b); diff != "" {
		t.Errorf("bytes differ (-want +got):\n%s", diff)
	}
}
