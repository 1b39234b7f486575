// Package lz4 reads and writes the legacy frames of LZ4, in which kernels are packed (Linux:
// scripts/Makefile.lib, cmd_lz4). What it writes is what the reference implementation makes at
// its level 9 (lz4 -l -9 of version 1.9), to the same bytes: that is what it is for.
//
// Libraries for Go pack to other bytes, and hold whole blocks in memory to unpack them.
package lz4

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

// The legacy format (lz4: doc/lz4_Frame_format.md): the magic number, and blocks behind their
// sizes, each of BlockSize bytes unpacked but for the last.
const (
	Magic     = 0x184c2102 // little-endian
	blockSize = 8 << 20
	// mostPacked is the size of a block that cannot be packed.
	mostPacked = blockSize + blockSize/255 + 16
)

// ErrMalformed says that something is no legacy frame of LZ4.
var ErrMalformed = errors.New("it is no legacy frame of LZ4")

// Writer packs what is written to it, in a goroutine of its own, which begins before there is a whole
// block. It has to be closed or killed. It takes two blocks of memory.
type Writer struct {
	w     io.Writer
	block [blockSize]byte
	ended chan struct{} // closed when the goroutine has

	mu      sync.Mutex
	changed sync.Cond
	filled  int  // bytes of the block, which change no more
	closed  bool // there are no more
	killed  bool // nobody is interested any more
	err     error
}

// NewWriter packs to w, which is written to from another goroutine until Close or Kill has returned.
func NewWriter(w io.Writer) *Writer {
	writer := &Writer{w: w, ended: make(chan struct{})}
	writer.changed.L = &writer.mu
	go writer.pack()
	return writer
}

// Write takes more. Errors are those of the writer below, and may be of earlier writes.
func (w *Writer) Write(b []byte) (int, error) {
	taken := 0
	for taken < len(b) {
		w.mu.Lock()
		for w.filled == blockSize && w.err == nil {
			w.changed.Wait()
		}
		at, err := w.filled, w.err
		w.mu.Unlock()
		if err != nil {
			return taken, err
		}
		n := copy(w.block[at:], b[taken:])
		taken += n
		w.change(func() { w.filled += n })
	}
	return taken, nil
}

// Close packs the rest. It does not close the writer below.
func (w *Writer) Close() error {
	w.change(func() { w.closed = true })
	<-w.ended
	return w.err
}

// Kill ends it without that.
func (w *Writer) Kill() {
	w.change(func() { w.closed, w.killed = true, true })
	<-w.ended
}

func (w *Writer) change(how func()) {
	w.mu.Lock()
	how()
	w.mu.Unlock()
	w.changed.Broadcast()
}

// pack is the goroutine.
func (w *Writer) pack() {
	defer close(w.ended)
	e := encoder{more: w.more}
	packed := binary.LittleEndian.AppendUint32(nil, Magic)
	for last := false; !last; {
		e.src = nil
		e.wait()
		if len(e.src) > 0 {
			size := len(packed)
			packed = e.append(append(packed, 0, 0, 0, 0))
			binary.LittleEndian.PutUint32(packed[size:], uint32(len(packed)-size-4))
		}
		last = len(e.src) < blockSize
		err := w.pass(packed)
		last = last || err != nil
		packed = packed[:0]
		w.change(func() { w.filled, w.err = 0, err })
	}
}

// pass writes what was packed.
func (w *Writer) pass(packed []byte) error {
	w.mu.Lock()
	killed := w.killed
	w.mu.Unlock()
	if killed || len(packed) == 0 {
		return nil
	}
	_, err := w.w.Write(packed)
	return err
}

// more waits for more of the block than the encoder had.
func (w *Writer) more(had int) (src []byte, whole bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.filled == had && !w.closed {
		w.changed.Wait()
	}
	return w.block[:w.filled], w.closed || w.filled == blockSize
}

// Reader unpacks what it reads, to the end of what is below. Memory is some times as far as a
// match reaches, 64 KiB.
type Reader struct {
	r      *bufio.Reader
	begun  bool
	err    error
	window []byte // what was unpacked last
	given  int    // bytes of it that were read
	size   int    // of the block so far, unpacked
	left   int    // bytes of the block that are still packed

	// Of the sequence at hand: what is still to be copied.
	token    byte
	literals int
	matching bool // the match comes when the literals are through
	distance int
	match    int
}

// NewReader unpacks what r gives.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, farthest+1), window: make([]byte, 0, 2*(farthest+1))}
}

// Read gives what is unpacked. What is malformed is an ErrMalformed; other errors are those
// of the reader below.
func (r *Reader) Read(b []byte) (int, error) {
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(b, r.window[r.given:])
	r.given += n
	return n, nil
}

// Skip passes over n bytes. Blocks of which it passes over all are not unpacked. Errors are those of
// Read, which gives io.EOF where there are less; at the latest the next Read does that.
func (r *Reader) Skip(n int64) error {
	for n > 0 {
		if n >= blockSize && r.err == nil && r.given == len(r.window) && r.left == 0 && r.match == 0 {
			if r.err = r.skipBlock(); r.err == nil {
				n -= blockSize
			}
			continue
		}
		if err := r.fill(); err != nil {
			return err
		}
		some := min(n, int64(len(r.window)-r.given))
		r.given += int(some)
		n -= some
	}
	return nil
}

// skipBlock passes over a block, which is taken to be as large as all but the last are.
func (r *Reader) skipBlock() error {
	if err := r.begin(); err != nil {
		return err
	}
	if _, err := r.r.Discard(r.left); err != nil {
		return malformed(err)
	}
	r.left, r.size, r.window, r.given = 0, blockSize, r.window[:0], 0
	return nil
}

// fill unpacks more if all was read.
func (r *Reader) fill() error {
	for r.given == len(r.window) {
		if r.err != nil {
			return r.err
		}
		r.err = r.more()
	}
	return nil
}

// more unpacks as much as there is room for.
func (r *Reader) more() error {
	// A match does not reach into the block before it.
	keep := min(len(r.window), farthest)
	r.window = append(r.window[:0], r.window[len(r.window)-keep:]...)
	r.given = keep
	for len(r.window) < cap(r.window) {
		if r.left == 0 && r.match == 0 {
			if len(r.window) > r.given {
				return nil // the window is the block's
			}
			if err := r.begin(); err != nil {
				return err
			}
			r.window, r.given = r.window[:0], 0
		}
		if err := r.step(); err != nil {
			return err
		}
	}
	return nil
}

// begin reads the size of a block, and what the file begins with.
func (r *Reader) begin() error {
	if !r.begun {
		if magic, err := r.word(); err != nil || magic != Magic {
			return malformed(err)
		}
		r.begun = true
	}
	if _, err := r.r.Peek(1); err == io.EOF {
		return io.EOF
	}
	if r.size > 0 && r.size < blockSize {
		return malformed(nil) // only the last one may be smaller
	}
	size, err := r.word()
	if err != nil || size == 0 || size > mostPacked {
		return malformed(err)
	}
	r.left, r.size, r.matching = int(size), 0, false
	return nil
}

// step goes on with the sequence at hand, or begins the next one.
func (r *Reader) step() error {
	room := cap(r.window) - len(r.window)
	switch {
	case r.literals > 0:
		n := min(r.literals, room)
		at := len(r.window)
		if _, err := io.ReadFull(r.r, r.window[at:at+n]); err != nil {
			return malformed(err)
		}
		r.window = r.window[:at+n]
		r.literals -= n
		r.left -= n
		return r.grow(n)
	case r.match > 0:
		n := min(r.match, room)
		for left := n; left > 0; {
			from := len(r.window) - r.distance
			some := min(left, r.distance) // the rest is what this makes
			r.window = append(r.window, r.window[from:from+some]...)
			left -= some
		}
		r.match -= n
		return r.grow(n)
	case r.matching:
		low, high := r.next(), r.next()
		r.distance = int(low) | int(high)<<8
		r.match = r.length(r.token&runMask) + leastMatch
		r.matching = false
		if r.err != nil || r.distance == 0 || r.distance > r.size {
			return malformed(r.err)
		}
	default:
		r.token = r.next()
		r.literals = r.length(r.token >> 4)
		r.matching = r.left > r.literals // the last sequence has no match
		if r.err != nil || r.literals > r.left {
			return malformed(r.err)
		}
	}
	return nil
}

// grow counts what a block makes.
func (r *Reader) grow(n int) error {
	if r.size += n; r.size > blockSize {
		return malformed(nil)
	}
	return nil
}

// length reads what a token has no room for.
func (r *Reader) length(inToken byte) int {
	n := int(inToken)
	if n < runMask {
		return n
	}
	for more := byte(255); more == 255 && r.err == nil && n <= blockSize; {
		more = r.next()
		n += int(more)
	}
	return n
}

// next reads a byte of the block.
func (r *Reader) next() byte {
	if r.left--; r.left < 0 {
		r.err = cmp.Or(r.err, malformed(nil))
		return 0
	}
	b, err := r.r.ReadByte()
	if err != nil {
		r.err = cmp.Or(r.err, malformed(err))
	}
	return b
}

func (r *Reader) word() (uint32, error) {
	var b [4]byte
	_, err := io.ReadFull(r.r, b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

// malformed gives the error for what is no frame, unless it could not be read.
func malformed(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrMalformed
	}
	return err
}
