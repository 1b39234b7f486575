// Package v1 is the codec of tbdiff version 1: bytes to values and back, without
// input and output of its own beyond the stream. docs/format/tbdiff-v1.md is the
// specification, whose words the names here are.
//
// A stream is a Header and a row of Frames. A Frame has Commands, which say what
// becomes of a tree, and the content that they use up. Reading takes memory by the
// limits of the format, never by what a stream claims.
package v1

import "crypto/sha256"

// Magic begins every stream.
const Magic = "TBDIFF1\n"

// Limits of the format.
const (
	MaxContent  = 8 << 20  // bytes of content of a frame
	MaxSource   = 16 << 20 // bytes of the tree that a frame makes its content from
	MaxCommands = 8 << 20  // bytes of a commands section
	MaxPath     = 1<<16 - 1

	maxHeader = 4096
)

// Digest is a SHA-256.
type Digest [sha256.Size]byte

// Header says what the stream is between, and how much it is.
type Header struct {
	// Origin is the tree digest of the tree that the stream is for, nil for a stream
	// that makes a tree from nothing.
	Origin *Digest
	// Target is the tree digest of what it makes.
	Target Digest

	// ContentLimit and SourceLimit bound each frame's content and source, in bytes.
	ContentLimit, SourceLimit uint64

	// Totals of all frames.
	Totals Totals
}

// Totals are sums over a stream.
type Totals struct {
	Commands uint64
	Content  uint64 // bytes of content
	Written  uint64 // lengths of all parts but holes, in bytes
}

// Frame is a part of a stream that stands for itself.
type Frame struct {
	// Files are those of the tree that the frame reads.
	Files []File
	// Ranges of Files make up the frame's source, in this order.
	Ranges   []Range
	Commands []Command
	Content  Content
}

// File is a plain file of the tree, as a frame expects it.
type File struct {
	Path   string
	Size   uint64
	Digest Digest
	View   View
}

// View is how a frame reads a file: the zero value as it is, any other what is packed in
// it. Ranges are of what is read then.
type View struct {
	Method         PackedBy
	Offset, Length uint64 // of what is packed, in the file
	Size           uint64 // of it unpacked
}

// PackedBy is a method of packing that a reader of frames can undo.
type PackedBy byte

// The methods.
const (
	AsItIs PackedBy = iota
	ByGzip          // one member (RFC 1952)
	ByZstd          // Zstandard frames (RFC 8878) with windows of at most MaxContent
	ByLZ4           // a legacy frame of LZ4; to pack is to make what lz4 1.9 makes at level 9
)

// ReadSize gives how many bytes there are to read.
func (f *File) ReadSize() uint64 {
	if f.View.Method == AsItIs {
		return f.Size
	}
	return f.View.Size
}

// Range is a piece of a file.
type Range struct {
	File           int // index into Frame.Files
	Offset, Length uint64
}

// SourceSize gives the bytes of all ranges together.
func (f *Frame) SourceSize() uint64 {
	var sum uint64
	for _, r := range f.Ranges {
		sum += r.Length
	}
	return sum
}

// Totals gives what the frame adds to those of the stream.
func (f *Frame) Totals() Totals {
	t := Totals{Commands: uint64(len(f.Commands)), Content: f.Content.Size}
	for _, c := range f.Commands {
		for _, p := range partsOf(c) {
			if p.Kind != Hole {
				t.Written += p.Length
			}
		}
	}
	return t
}

// Add adds those of a frame.
func (t *Totals) Add(o Totals) {
	t.Commands += o.Commands
	t.Content += o.Content
	t.Written += o.Written
}
