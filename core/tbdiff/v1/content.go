package v1

import (
	"cmp"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// Method says how something is stored.
type Method byte

// The methods. Difference is for content only.
const (
	Plain Method = iota
	Zstd
	Difference
)

// Content is what the commands of a frame use up, as it is stored.
type Content struct {
	Size   uint64 // in bytes, unpacked
	Method Method
	Stored []byte
}

// Unpacker unpacks contents, one after the other, and keeps the memory that this takes. The zero
// Unpacker is ready for use.
type Unpacker struct {
	decoder *zstd.Decoder // for what has no dictionary
	packed  []byte        // a difference, as it is applied
}

// Unpack gives the content, Size bytes. source is what the frame's ranges give. room is
// memory to use, as far as it goes; the result is good until that is overwritten.
func (u *Unpacker) Unpack(c *Content, source, room []byte) ([]byte, error) {
	content, err := u.unpack(c, source, room)
	if err == nil && uint64(len(content)) != c.Size {
		err = malformed("it has %d bytes instead of %d", len(content), c.Size)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot unpack the content of a frame: %w", err)
	}
	return content, nil
}

func (u *Unpacker) unpack(c *Content, source, room []byte) ([]byte, error) {
	switch c.Method {
	case Plain:
		return append(room[:0], c.Stored...), nil
	case Zstd:
		return u.unpackZstd(c.Stored, source, c.Size, room)
	case Difference:
		return u.unpackDifference(c.Stored, source, c.Size, room)
	}
	return nil, malformed("there is no method %d", c.Method)
}

// unpackZstd decodes one Zstandard frame of size bytes. Memory goes by size, which the
// caller has a limit for.
func (u *Unpacker) unpackZstd(stored, dictionary []byte, size uint64, room []byte) ([]byte, error) {
	if claimed, err := readZstdHeader(stored); err != nil || claimed != size {
		return nil, cmp.Or(err, malformed("%d bytes are packed, and they should be %d", claimed, size))
	}
	decoder, err := u.decoderFor(dictionary)
	if err != nil {
		return nil, err
	}
	content, err := decoder.DecodeAll(stored, roomFor(size, room))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", tbdiff.ErrMalformed, err)
	}
	return content, nil
}

// decoderFor gives a decoder for what was packed with this dictionary, which may be empty.
func (u *Unpacker) decoderFor(dictionary []byte) (*zstd.Decoder, error) {
	if len(dictionary) == 0 && u.decoder != nil {
		return u.decoder, nil
	}
	options := []zstd.DOption{
		// All is decoded into the room that is given, and never into more.
		zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(maxWindow),
	}
	if len(dictionary) > 0 {
		return zstd.NewReader(nil, append(options, zstd.WithDecoderDictRaw(0, dictionary))...)
	}
	var err error
	u.decoder, err = zstd.NewReader(nil, options...)
	return u.decoder, err
}

// Room gives the memory to use the next time where content was unpacked into room: the larger one,
// as the content may have its own.
func Room(room, content []byte) []byte {
	if cap(content) > cap(room) {
		return content[:0]
	}
	return room[:0]
}

// roomFor gives memory for exactly size bytes: none would do for a decoder that may use all
// that it is given.
func roomFor(size uint64, room []byte) []byte {
	if uint64(cap(room)) < size {
		return make([]byte, 0, size)
	}
	return room[:0:size]
}

// maxWindow is the largest window that a Zstandard frame may ask for. It costs nothing
// beside the content, which is decoded into one piece of memory.
const maxWindow = 128 << 20

// readZstdHeader gives the content size of a Zstandard frame.
func readZstdHeader(stored []byte) (uint64, error) {
	var header zstd.Header
	if err := header.Decode(stored); err != nil || !header.HasFCS || header.Skippable || header.DictionaryID != 0 {
		return 0, malformed("it is no Zstandard frame with its content size and without a dictionary id")
	}
	return header.FrameContentSize, nil
}
