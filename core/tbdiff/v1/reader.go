package v1

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// Reader takes a stream apart into frames, in one pass. Its input may be a pipe.
type Reader struct {
	source  *bufio.Reader
	header  Header
	totals  Totals // of the frames so far
	file    string // that a Write began and no FILE ended, "" for none
	size    uint64 // of what its Writes gave
	packing bool   // they began what a program packs
	number  int    // of the frame last begun, from 1
	offset  int64  // of the next byte
	fault   error  // sticky
	scratch []byte // what is stored of the frame at hand

	unpacker Unpacker // of commands
}

// Place is a frame of a stream.
type Place struct {
	Number int   // of the frame, from 1; 0 for what is before the first
	Offset int64 // of the byte at which reading stopped, from the start of the stream
}

// Locate wraps what went wrong with the frame, for whoever carries it out.
func (p Place) Locate(err error) error { return &FrameError{p, err} }

// FrameError says in which frame of a stream something went wrong.
type FrameError struct {
	Place
	Err error
}

// Error gives the text for people.
func (e *FrameError) Error() string {
	if e.Number == 0 {
		return fmt.Sprintf("header of the stream: %v", e.Err)
	}
	return fmt.Sprintf("frame %d (before byte %d): %v", e.Number, e.Offset, e.Err)
}

// Unwrap gives the cause.
func (e *FrameError) Unwrap() error { return e.Err }

// NewReader reads the header of the stream that source holds. It reads ahead.
//
// Its errors and those of Next are *FrameError; tbdiff.ErrMalformed, ErrTruncated and
// ErrUnsafe tell the kinds apart; an error of the source itself is wrapped.
func NewReader(source io.Reader) (*Reader, error) {
	r := &Reader{source: bufio.NewReaderSize(source, 64<<10)}
	r.readHeader()
	if r.fault != nil {
		return nil, r.fault
	}
	return r, nil
}

// Header gives the stream's header.
func (r *Reader) Header() Header { return r.header }

// Place is that of the frame that Next returned last.
func (r *Reader) Place() Place { return Place{r.number, r.offset} }

func (r *Reader) readHeader() {
	if magic := r.read(uint64(len(Magic))); r.fault == nil && string(magic) != Magic {
		r.fail(malformed("it is not a tbdiff stream of version 1"))
	}
	b := r.read(r.most(maxHeader, "the header's size"))
	if r.fault != nil {
		return
	}
	var err error
	if r.header, err = decodeHeader(b); err != nil {
		r.fail(err)
	}
}

// Next gives the next frame, and io.EOF after the last when nothing stands behind it.
// What is stored of a frame's content is good until the next call. Errors are final: Next gives them again.
func (r *Reader) Next() (*Frame, error) {
	if r.fault != nil {
		return nil, r.fault
	}
	r.number++
	size := r.most(MaxCommands, "the size of the commands")
	if r.fault == nil && size == 0 {
		r.finish()
	}
	if r.fault != nil {
		return nil, r.fault
	}
	frame, err := r.readFrame(size)
	if err == nil {
		err = r.accept(frame)
	}
	if err != nil {
		r.fail(err)
	}
	if r.fault != nil {
		return nil, r.fault
	}
	return frame, nil
}

// readFrame reads the frame whose commands have size bytes.
func (r *Reader) readFrame(size uint64) (*Frame, error) {
	// What is packed may be larger than it was, by little.
	commands := r.most(size+size/8+1<<10, "what is stored of the commands")
	content := r.most(r.header.ContentLimit, "the size of the content")
	stored := r.most(content+content/8+1<<10, "what is stored of the content")
	methods := r.read(1)
	if r.fault != nil {
		return nil, nil
	}
	method := Method(methods[0] & 15)
	frame := &Frame{Content: Content{Size: content, Method: Method(methods[0] >> 4)}}
	b := r.read(commands + stored)
	if r.fault != nil {
		return nil, nil
	}
	frame.Content.Stored = b[commands:]
	if content == 0 && (stored > 0 || frame.Content.Method != Plain) {
		return nil, malformed("no content that takes %d bytes", stored)
	}
	section := Content{Size: size, Method: method, Stored: b[:commands]}
	if method > Zstd {
		return nil, malformed("commands by the method %d", method)
	}
	plain, err := r.unpacker.Unpack(&section, nil, nil)
	if err != nil {
		return nil, err
	}
	if err := decodeSection(plain, frame); err != nil {
		return nil, err
	}
	return frame, checkFrame(frame, &r.header)
}

// accept follows the stream from frame to frame.
func (r *Reader) accept(frame *Frame) error {
	if frame == nil {
		return nil // r.fault says why
	}
	r.totals.Add(frame.Totals())
	if r.totals.Commands > r.header.Totals.Commands || r.totals.Content > r.header.Totals.Content || r.totals.Written > r.header.Totals.Written {
		return malformed("it is more than the header says")
	}
	for _, c := range frame.Commands {
		if err := r.follow(c); err != nil {
			return fmt.Errorf("%s for %q: %w", c.Op(), c.Subject(), err)
		}
	}
	return nil
}

// follow makes sure that a file that was begun is ended before anything else.
func (r *Reader) follow(c Command) error {
	if r.file != "" && (c.Subject() != r.file || c.Op() != OpWrite && c.Op() != OpFile) {
		return malformed("the file %q was begun and is not ended", r.file)
	}
	if r.file != "" && BeforeOf(c) > 0 {
		return malformed("it expects something where the file was begun already")
	}
	for _, p := range partsOf(c) {
		if err := r.followPart(p); err != nil {
			return err
		}
	}
	switch c := c.(type) {
	case Write:
		r.file = c.Subject()
	case PlainFile:
		if r.size != c.Size || r.packing {
			return malformed("a file of %d bytes whose parts have %d", c.Size, r.size)
		}
		r.file, r.size = "", 0
	}
	return nil
}

// followPart adds up the size of a file. What a program packs does not count, but what it
// makes of it.
func (r *Reader) followPart(p Part) error {
	if p.Kind == Repack {
		if r.packing == (p.Length > 0) {
			return malformed("what is packed begins or ends twice")
		}
		r.packing = p.Length > 0
	} else if r.packing {
		return nil
	}
	if r.size += p.Length; r.size >= 1<<63 {
		return malformed("no file is that large")
	}
	return nil
}

// finish makes sure that the stream is whole, and that it ends here.
func (r *Reader) finish() {
	switch {
	case r.file != "":
		r.fail(malformed("it ends within the file %q", r.file))
		return
	case r.totals != r.header.Totals:
		r.fail(malformed("it is less than the header says"))
		return
	}
	switch _, err := r.source.ReadByte(); {
	case err == nil:
		r.fail(malformed("something follows its end"))
	case errors.Is(err, io.EOF):
		r.fault = io.EOF
	default:
		r.fail(fmt.Errorf("cannot read on: %w", err))
	}
}

func (r *Reader) fail(err error) {
	if r.fault == nil {
		r.fault = r.Place().Locate(err)
	}
}

// read gives the next n bytes, good until it is called again. Memory grows as they arrive.
func (r *Reader) read(n uint64) []byte {
	if r.fault != nil {
		return nil
	}
	const step = 1 << 20
	b := r.scratch[:0]
	for uint64(len(b)) < n {
		have := len(b)
		more := int(min(n-uint64(have), step))
		if cap(b)-have < more {
			b = append(make([]byte, 0, min(2*cap(b)+more, int(n))), b...)
		}
		b = b[:have+more]
		got, err := io.ReadFull(r.source, b[have:])
		r.offset += int64(got)
		if err != nil {
			r.failRead(err)
			return nil
		}
	}
	r.scratch = b
	return b
}

func (r *Reader) failRead(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		r.fail(tbdiff.ErrTruncated)
		return
	}
	r.fail(fmt.Errorf("cannot read on: %w", err))
}

// most reads a uvarint that has a limit.
func (r *Reader) most(limit uint64, what string) uint64 {
	if r.fault != nil {
		return 0
	}
	var buffer [binary.MaxVarintLen64]byte
	for i := range buffer {
		b, err := r.source.ReadByte()
		if err != nil {
			r.failRead(err)
			return 0
		}
		r.offset++
		buffer[i] = b
		if b < 0x80 {
			f := &fields{rest: buffer[:i+1]}
			value := f.most(limit, what)
			if f.fault != nil {
				r.fail(f.fault)
			}
			return value
		}
	}
	r.fail(malformed("a number is too large"))
	return 0
}
