//go:build cgo && libzstd

package frames_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/trebuchet-update/tbupdate/core/delta/frames"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// kernel is what a kernel for x86 looks like that has this packed in it.
func kernel(payload []byte, release string) []byte {
	image := append(make([]byte, 1024), release...)
	image[0x1f1] = 1
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(image[0x206:], 0x20f)
	binary.LittleEndian.PutUint32(image[0x248:], uint32(len(release)))
	binary.LittleEndian.PutUint32(image[0x24c:], uint32(len(payload))+4)
	image = binary.LittleEndian.AppendUint32(append(image, payload...), 7)
	return append(image, "signature of "+release...)
}

// packsItself reports whether a stream has the deployer pack something.
func packsItself(t *testing.T, stream []byte) bool {
	t.Helper()
	reader, err := v1.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range frame.Commands {
			if file, ok := command.(v1.PlainFile); ok && slices.ContainsFunc(file.Parts, func(p v1.Part) bool { return p.By == v1.ByLZ4 }) {
				return true
			}
			if file, ok := command.(v1.Write); ok && slices.ContainsFunc(file.Parts, func(p v1.Part) bool { return p.By == v1.ByLZ4 }) {
				return true
			}
		}
	}
}

// TestKernelsAreLookedInto has kernels that differ in a few words, of which some are packed as
// nobody packs them again.
func TestKernelsAreLookedInto(t *testing.T) {
	for name, c := range map[string]struct {
		size   int
		pack   func(content []byte) []byte
		looked bool
	}{
		"two blocks":       {9 << 20, func(b []byte) []byte { return pack(t, b, "lz4", "-l", "-9", "-c") }, true},
		"another level":    {4 << 20, func(b []byte) []byte { return pack(t, b, "lz4", "-l", "-4", "-c") }, false},
		"something behind": {4 << 20, func(b []byte) []byte { return append(pack(t, b, "lz4", "-l", "-9", "-c"), 1, 2) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin, target := t.TempDir(), t.TempDir()
			write(t, origin+"/boot/vmlinuz-6.1.0-50-amd64", kernel(c.pack(words(1, c.size)), "6.1.0-50"))
			write(t, target+"/boot/vmlinuz-6.1.0-56-amd64", kernel(c.pack(words(1, c.size, 17, 20_000, 100_000)), "6.1.0-56"))
			stream, _ := createAt(t, frames.Small, origin, target)
			if len(stream) > 100_000 {
				t.Errorf("the stream has %d bytes", len(stream))
			}
			if got := packsItself(t, stream); got != c.looked {
				t.Errorf("it is looked into: %t", got)
			}
			for _, level := range []frames.Level{frames.Fast, frames.Default} {
				if other, _ := createAt(t, level, origin, target); packsItself(t, other) {
					t.Errorf("it is looked into at level %d as well", level)
				}
			}
			deploy(t, stream, origin)
			wantSame(t, origin, target)
		})
	}
}
