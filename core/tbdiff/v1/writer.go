package v1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Pack packs bytes into one Zstandard frame, with its content size and without a
// dictionary id. dictionary may be empty.
type Pack func(content, dictionary []byte) ([]byte, error)

// Writer puts frames together into a stream.
//
// After an error the stream is unusable: every later call gives the same error.
type Writer struct {
	sink   io.Writer
	pack   Pack
	header Header
	totals Totals
	fault  error
}

// NewWriter writes the header of a stream. pack is for the commands of frames: their
// content comes packed.
func NewWriter(sink io.Writer, header Header, pack Pack) (*Writer, error) {
	w := &Writer{sink: sink, pack: pack, header: header}
	if err := header.check(); err != nil {
		return nil, fmt.Errorf("cannot write the header: %w", err)
	}
	if _, err := sink.Write(appendString([]byte(Magic), string(encodeHeader(&header)))); err != nil {
		return nil, fmt.Errorf("cannot write the header: %w", err)
	}
	return w, nil
}

// Write writes a frame. It refuses what a Reader would refuse of a frame by itself.
func (w *Writer) Write(frame *Frame) error {
	if w.fault == nil {
		w.fault = w.write(frame)
	}
	return w.fault
}

func (w *Writer) write(frame *Frame) error {
	b, err := AppendFrame(nil, frame, &w.header, w.pack)
	if err != nil {
		return fmt.Errorf("cannot write a frame: %w", err)
	}
	w.totals.add(frame.Totals())
	_, err = w.sink.Write(b)
	return err
}

// AppendFrame appends the bytes of a frame of a stream with this header.
func AppendFrame(b []byte, frame *Frame, header *Header, pack Pack) ([]byte, error) {
	if err := checkFrame(frame, header); err != nil {
		return nil, err
	}
	section := encodeSection(frame)
	if len(section) > MaxCommands {
		return nil, fmt.Errorf("its commands take %d bytes, and at most %d can be", len(section), MaxCommands)
	}
	stored, method := section, Plain
	packed, err := pack(section, nil)
	if err != nil {
		return nil, err
	}
	if len(packed) < len(section) {
		stored, method = packed, Zstd
	}
	for _, size := range []uint64{uint64(len(section)), uint64(len(stored)), frame.Content.Size, uint64(len(frame.Content.Stored))} {
		b = binary.AppendUvarint(b, size)
	}
	b = append(b, byte(method)|byte(frame.Content.Method)<<4)
	return append(append(b, stored...), frame.Content.Stored...), nil
}

// errClosed is what a Writer gives after Close.
var errClosed = errors.New("the stream is finished already")

// Close ends the stream. It does not close what the Writer writes to. It is an error
// when the frames were not what the header says.
func (w *Writer) Close() error {
	if w.fault != nil {
		return w.fault
	}
	if w.totals != w.header.Totals {
		w.fault = fmt.Errorf("cannot end the stream: the header says %+v, and the frames were %+v", w.header.Totals, w.totals)
		return w.fault
	}
	if _, err := w.sink.Write([]byte{0}); err != nil {
		w.fault = err
		return err
	}
	w.fault = errClosed
	return nil
}
