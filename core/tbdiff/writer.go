package tbdiff

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// writeBehind is the size of the Writer's buffer.
const writeBehind = 256 << 10

// Writer puts commands together into a stream. The original C tool can deploy what
// it writes.
//
// After an error the stream is unusable: every later call gives the same error.
type Writer struct {
	sink   *bufio.Writer
	fields []byte // scratch: the encoded command
	number int    // of the command last begun, from 1
	depth  int
	fault  error
}

// errClosed is what a Writer gives after Close.
var errClosed = errors.New("the stream is finished already")

// NewWriter returns a Writer that writes to sink, through a buffer, beginning with
// IDENTIFY.
func NewWriter(sink io.Writer) *Writer {
	w := &Writer{sink: bufio.NewWriterSize(sink, writeBehind)}
	w.fields = appendString(append(w.fields, byte(OpIdentify)), identification)
	// The buffer takes it; an error would come back with the next command.
	_ = w.flushFields()
	return w
}

// Write writes a command that has no payload. Identify and Update are not for it:
// NewWriter and Close write them.
//
// It refuses what a Reader would refuse, and sockets. The attributes of an
// XattrsUpdate are written smallest value first, then by name, since the C tool
// loses its place where a value is smaller than one before it.
func (w *Writer) Write(command Command) error {
	switch command.(type) {
	case Identify, Update:
		return w.fail(command, errors.New("it is written by itself"))
	case FileCreate, FileDelta:
		return w.fail(command, errors.New("its content is missing"))
	}
	return w.begin(command)
}

// WriteData writes a FileCreate or FileDelta with its payload, which content must
// give to the last byte: it is an error when it ends before Size bytes, or does not
// end there.
func (w *Writer) WriteData(command Command, content io.Reader) error {
	var size uint32
	switch c := command.(type) {
	case FileCreate:
		size = c.Size
	case FileDelta:
		size = c.Size
	default:
		return w.fail(command, errors.New("it has no content"))
	}
	if err := w.begin(command); err != nil {
		return err
	}
	n, err := io.Copy(w.sink, io.LimitReader(content, int64(size)))
	if err != nil {
		return w.fail(command, fmt.Errorf("cannot copy its content: %w", err))
	}
	if n != int64(size) {
		return w.fail(command, fmt.Errorf("its content ends after %d of %d bytes", n, size))
	}
	return w.expectEnd(command, content, size)
}

func (w *Writer) expectEnd(command Command, content io.Reader, size uint32) error {
	var more [1]byte
	switch _, err := io.ReadFull(content, more[:]); err {
	case io.EOF:
		return nil
	case nil:
		return w.fail(command, fmt.Errorf("its content is longer than %d bytes", size))
	default:
		return w.fail(command, fmt.Errorf("cannot read its content: %w", err))
	}
}

// Close writes UPDATE and flushes the buffer. It does not close what the Writer
// writes to. It is an error inside a directory.
func (w *Writer) Close() error {
	if w.depth > 0 {
		return w.fail(Update{}, fmt.Errorf("%d directories were entered and not left", w.depth))
	}
	if err := w.begin(Update{}); err != nil {
		return err
	}
	if err := w.sink.Flush(); err != nil {
		return w.fail(Update{}, err)
	}
	w.fault = errClosed
	return nil
}

// begin checks and writes the fields of a command.
func (w *Writer) begin(command Command) error {
	if w.fault != nil {
		return w.fault
	}
	if err := w.check(command); err != nil {
		return w.fail(command, err)
	}
	switch command.(type) {
	case DirEnter:
		w.depth++
	case DirLeave:
		w.depth--
	}
	w.fields = appendCommand(w.fields[:0], command)
	if err := w.flushFields(); err != nil {
		return w.fail(command, err)
	}
	return nil
}

func (w *Writer) check(command Command) error {
	switch c := command.(type) {
	case DirEnter:
		if w.depth == maxDepth {
			return fmt.Errorf("directories nested more than %d deep", maxDepth)
		}
	case DirLeave:
		if w.depth == 0 {
			return errors.New("it leaves the top directory")
		}
	case SpecialCreate:
		if c.Mode&modeTypes == modeSocket {
			return errors.New("the format has no sockets")
		}
	}
	return check(command)
}

func (w *Writer) fail(command Command, err error) error {
	if w.fault == nil {
		w.fault = fmt.Errorf("cannot write %s for %q as command %d: %w", command.Opcode(), nameOf(command), w.number, err)
	}
	return w.fault
}

func (w *Writer) flushFields() error {
	w.number++
	_, err := w.sink.Write(w.fields)
	return err
}

// appendCommand appends the encoded fields of a command that was checked.
func appendCommand(b []byte, command Command) []byte {
	le := binary.LittleEndian
	b = append(b, byte(command.Opcode()))
	switch c := command.(type) {
	case DirCreate:
		b = le.AppendUint64(appendString(b, c.Name), c.Mtime)
		b = appendUint32s(b, c.UID, c.GID, c.Mode)
	case DirEnter:
		b = appendString(b, c.Name)
	case DirLeave:
		b = le.AppendUint64(b, c.Mtime)
	case DirDelta:
		b = appendDelta(b, c.Mask, c.Mtime, c.UID, c.GID, c.Mode)
		b = appendString(b, c.Name)
	case FileCreate:
		b = le.AppendUint64(appendString(b, c.Name), c.Mtime)
		b = appendUint32s(b, c.Mode, c.UID, c.GID, c.Size)
	case FileDelta:
		b = appendDelta(appendString(b, c.Name), c.Mask, c.Mtime, c.UID, c.GID, c.Mode)
		b = appendUint32s(b, c.Start, c.End, c.Size)
	case FileMetadata:
		b = appendDelta(b, c.Mask, c.Mtime, c.UID, c.GID, c.Mode)
		b = appendString(b, c.Name)
	case EntityDelete:
		b = appendString(b, c.Name)
	case SymlinkCreate:
		b = appendUint32s(le.AppendUint64(b, c.Mtime), c.UID, c.GID)
		b = appendString(appendString(b, c.Name), c.Target)
	case SpecialCreate:
		b = le.AppendUint64(appendString(b, c.Name), c.Mtime)
		b = appendUint32s(b, c.Mode, c.UID, c.GID, c.Rdev)
	case XattrsUpdate:
		b = appendXattrs(appendString(b, c.Name), c.Attributes)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendUint32s(b []byte, values ...uint32) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// appendDelta appends what the commands that change an entry have in common.
func appendDelta(b []byte, mask Mask, mtime uint64, uid, gid, mode uint32) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(mask))
	b = binary.LittleEndian.AppendUint64(b, mtime)
	return appendUint32s(b, uid, gid, mode)
}

func appendXattrs(b []byte, attributes []Xattr) []byte {
	sorted := slices.SortedFunc(slices.Values(attributes), func(x, y Xattr) int {
		return cmp.Or(cmp.Compare(len(x.Value), len(y.Value)), cmp.Compare(x.Name, y.Name))
	})
	b = appendUint32s(b, uint32(len(sorted)))
	for _, a := range sorted {
		b = binary.LittleEndian.AppendUint64(appendString(b, a.Name), uint64(len(a.Value)))
		b = append(b, a.Value...)
	}
	return b
}
