package tbdiff

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// readAhead is the size of the Reader's buffer. A field is looked at only when all
// of it has arrived there, so it must hold the longest one, an attribute's value.
const readAhead = maxXattrValue

// Reader takes a stream apart into commands, in one pass and with bounded memory.
// Its input may be a pipe.
type Reader struct {
	source *bufio.Reader
	offset int64 // of the next byte

	number int    // of the command last begun, from 1
	opcode Opcode // of that command
	start  int64  // offset of that command

	directory []byte // slash-joined path of the directory that the stream is in
	parents   []int  // for each directory entered, the length of directory above it
	left      int    // after DIR_LEAVE, the length of directory before it
	name      string // that the current command is about, for messages

	payload int64 // bytes of the current payload that were not read yet
	fault   error // sticky: what Next returns from now on
}

// NewReader returns a Reader for the stream that source holds. It reads ahead.
func NewReader(source io.Reader) *Reader {
	return &Reader{source: bufio.NewReaderSize(source, readAhead)}
}

// Next gives the next command: Identify first, Update last, then io.EOF. What was
// not read of the payload of the command before is skipped.
//
// Update is given only when nothing stands behind it, so on a pipe Next waits for
// the other side to close it.
//
// Every error but io.EOF is a *StreamError and final: Next gives it again.
// ErrMalformed, ErrTruncated and ErrUnsafe tell the kinds apart; an error of the
// source itself is wrapped.
func (r *Reader) Next() (Command, error) {
	if r.fault == nil {
		r.skipPayload()
	}
	if r.fault != nil {
		return nil, r.fault
	}
	if r.opcode == OpUpdate && r.number > 0 {
		r.fault = io.EOF
		return nil, r.fault
	}
	r.beginCommand()
	command := r.decode()
	if r.fault == nil {
		r.accept(command)
	}
	if r.fault != nil {
		return nil, r.fault
	}
	return command, nil
}

// beginCommand reads the next opcode. Where the input ends instead, the command
// that is missing is named: IDENTIFY at the start, UPDATE later.
func (r *Reader) beginCommand() {
	r.number++
	r.start = r.offset
	r.name, r.left = "", 0
	r.opcode = OpIdentify
	if r.number > 1 {
		r.opcode = OpUpdate
	}
	if b := r.take(1); b != nil {
		r.opcode = Opcode(b[0])
	}
}

// Data gives the payload of the FileCreate or FileDelta that Next just returned,
// and nothing for any other command. It is good until the next call of Next, ends
// with io.EOF after Size bytes, and with a *StreamError when the stream ends first.
func (r *Reader) Data() io.Reader { return payloadReader{r} }

// Position says where the command stands that Next returned last, or failed on:
// its number, counted from 1, its opcode and the offset of its first byte.
func (r *Reader) Position() (number int, opcode Opcode, offset int64) {
	return r.number, r.opcode, r.start
}

// Offset gives the number of bytes of the stream that were used so far.
func (r *Reader) Offset() int64 { return r.offset }

// Path gives the directory in which the next command takes place, slash-joined and
// relative to the top, which is "".
func (r *Reader) Path() string { return string(r.directory) }

// Locate wraps an error with the place of the command that Next returned last, for
// whoever carries the command out. An error that has a place already is returned
// as it is.
func (r *Reader) Locate(err error) error {
	var located *StreamError
	if errors.As(err, &located) {
		return err
	}
	return &StreamError{Number: r.number, Opcode: r.opcode, Offset: r.start, Path: r.subject(), Err: err}
}

// subject gives the path of the entry that the current command is about.
func (r *Reader) subject() string {
	switch {
	case r.name == "":
		return string(r.directory[:max(r.left, len(r.directory))])
	case len(r.directory) == 0:
		return r.name
	}
	return string(r.directory) + "/" + r.name
}

func (r *Reader) fail(err error) {
	if r.fault == nil {
		r.fault = r.Locate(err)
	}
}

// accept checks a decoded command and follows it into or out of a directory.
func (r *Reader) accept(command Command) {
	r.name = nameOf(command)
	if err := check(command); err != nil {
		r.fail(err)
		return
	}
	switch c := command.(type) {
	case DirEnter:
		r.enter(c.Name)
	case DirLeave:
		r.leave()
	case Update:
		r.finish()
	case FileCreate:
		r.payload = int64(c.Size)
	case FileDelta:
		r.payload = int64(c.Size)
	}
}

func (r *Reader) enter(name string) {
	if len(r.parents) == maxDepth {
		r.fail(fmt.Errorf("%w: directories nested more than %d deep", ErrMalformed, maxDepth))
		return
	}
	r.parents = append(r.parents, len(r.directory))
	if len(r.directory) > 0 {
		r.directory = append(r.directory, '/')
	}
	r.directory = append(r.directory, name...)
	r.name = ""
}

func (r *Reader) leave() {
	if len(r.parents) == 0 {
		r.fail(fmt.Errorf("%w: it leaves the top directory", ErrUnsafe))
		return
	}
	last := len(r.parents) - 1
	r.left = len(r.directory)
	r.directory = r.directory[:r.parents[last]]
	r.parents = r.parents[:last]
}

// finish makes sure that UPDATE is in its place: at the top, and at the end.
func (r *Reader) finish() {
	if len(r.parents) > 0 {
		r.fail(fmt.Errorf("%w: it ends inside a directory", ErrMalformed))
		return
	}
	_, err := r.source.Peek(1)
	switch {
	case err == nil:
		r.fail(fmt.Errorf("%w: there are bytes after its end", ErrMalformed))
	case err != io.EOF:
		r.fail(fmt.Errorf("cannot read the stream: %w", err))
	}
}

func (r *Reader) skipPayload() {
	// Discard takes an int, which a payload may exceed on a 32-bit machine.
	for r.payload > 0 && r.fault == nil {
		n, err := r.source.Discard(int(min(r.payload, 1<<30)))
		r.consumed(int64(n), err)
	}
}

// consumed accounts for payload bytes and for the error that came with them.
func (r *Reader) consumed(n int64, err error) {
	r.offset += n
	r.payload -= n
	if err != nil && r.payload > 0 {
		r.failRead(err)
	}
}

func (r *Reader) failRead(err error) {
	if err == io.EOF {
		r.fail(fmt.Errorf("%w: it ends at byte %d", ErrTruncated, r.offset))
	} else if errors.Is(err, io.ErrUnexpectedEOF) {
		r.fail(fmt.Errorf("%w: it ends at byte %d: %w", ErrTruncated, r.offset, err))
	} else {
		r.fail(fmt.Errorf("cannot read the stream: %w", err))
	}
}

// take uses up the next n bytes, at most readAhead. The slice is good until the
// next call; it is nil after a failure.
func (r *Reader) take(n int) []byte {
	if r.fault != nil {
		return nil
	}
	b, err := r.source.Peek(n)
	if err != nil {
		r.offset += int64(len(b))
		r.failRead(err)
		return nil
	}
	r.offset += int64(n)
	// What was peeked at can be discarded.
	_, _ = r.source.Discard(n)
	return b
}

func (r *Reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *Reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *Reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *Reader) string() string { return string(r.take(int(r.uint16()))) }

// payloadReader reads the current payload of r.
type payloadReader struct{ r *Reader }

func (p payloadReader) Read(b []byte) (int, error) {
	r := p.r
	if r.payload == 0 {
		return 0, io.EOF
	}
	if r.fault != nil {
		return 0, r.fault
	}
	n, err := r.source.Read(b[:min(int64(len(b)), r.payload)])
	r.consumed(int64(n), err)
	return n, r.fault
}
