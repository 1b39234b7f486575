package v1

import (
	"encoding/binary"
	"fmt"
)

// Pack packs bytes into one Zstandard frame, with its content size and without a
// dictionary id. dictionary may be empty.
type Pack func(content, dictionary []byte) ([]byte, error)

// AppendHeader appends the beginning of a stream: magic and header.
func AppendHeader(b []byte, header *Header) ([]byte, error) {
	if err := header.check(); err != nil {
		return nil, err
	}
	return appendString(append(b, Magic...), string(encodeHeader(header))), nil
}

// AppendFrame appends the bytes of a frame of a stream with this header. It refuses what
// a Reader would refuse of a frame by itself.
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

// AppendEnd appends the end of a stream.
func AppendEnd(b []byte) []byte { return append(b, 0) }
