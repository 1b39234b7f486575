// Package bootscript is the codec of U-Boot scripts such as boot.scr, which are
// legacy images (uImage) of type script: bytes in, values out, no I/O.
//
// The format, from U-Boot's include/image.h: a header of 64 bytes in big endian
// with checksums of itself and of the data; the data of a script are a list of
// sizes that ends with 0, then the texts. "source" runs the first text.
package bootscript

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// ErrMalformed says that U-Boot would not run a file as a script.
var ErrMalformed = errors.New("not a U-Boot script")

// Numbers of the format.
const (
	magic      = 0x27051956
	headerSize = 64
	nameSize   = 32

	offsetHeaderSum = 4
	offsetTime      = 8
	offsetSize      = 12
	offsetDataSum   = 24
	offsetSystem    = 28
	offsetProcessor = 29
	offsetType      = 30
	offsetName      = 32

	typeScript  = 6
	systemLinux = 5
)

// Processor is what an image is for. U-Boot does not look at it in scripts.
type Processor byte

// Processors.
const (
	ARM   Processor = 2
	ARM64 Processor = 22
)

// Script is one script.
type Script struct {
	Name      string // up to 32 bytes, for people
	Processor Processor
	Time      uint32 // seconds since 1970, for people
	Text      string
}

// Parse decodes a script as U-Boot's "source" does: both checksums have to match.
// Bytes behind the image are not looked at.
func Parse(data []byte) (Script, error) {
	if len(data) < headerSize || binary.BigEndian.Uint32(data) != magic {
		return Script{}, fmt.Errorf("%w: it has no header", ErrMalformed)
	}
	header := append([]byte(nil), data[:headerSize]...)
	sum := binary.BigEndian.Uint32(header[offsetHeaderSum:])
	clear(header[offsetHeaderSum:offsetTime])
	if crc32.ChecksumIEEE(header) != sum {
		return Script{}, fmt.Errorf("%w: the checksum of its header does not match", ErrMalformed)
	}
	size := uint64(binary.BigEndian.Uint32(header[offsetSize:]))
	if size > uint64(len(data)-headerSize) {
		return Script{}, fmt.Errorf("%w: it should have %d bytes and has %d", ErrMalformed, headerSize+size, len(data))
	}
	body := data[headerSize : headerSize+size]
	if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(header[offsetDataSum:]) {
		return Script{}, fmt.Errorf("%w: the checksum of its data does not match", ErrMalformed)
	}
	if header[offsetType] != typeScript {
		return Script{}, fmt.Errorf("%w: it is an image of type %d", ErrMalformed, header[offsetType])
	}
	text, err := firstText(body)
	if err != nil {
		return Script{}, err
	}
	name, _, _ := strings.Cut(string(header[offsetName:]), "\x00")
	return Script{
		Name: name, Processor: Processor(header[offsetProcessor]),
		Time: binary.BigEndian.Uint32(header[offsetTime:]), Text: text,
	}, nil
}

// firstText takes the first text out of a list of sizes and what follows it.
func firstText(body []byte) (string, error) {
	var first uint32
	for n := 0; len(body) >= 4; n++ {
		size := binary.BigEndian.Uint32(body)
		body = body[4:]
		switch {
		case n == 0 && size == 0:
			return "", fmt.Errorf("%w: it is empty", ErrMalformed)
		case n == 0:
			first = size
		case size == 0:
			if uint64(first) > uint64(len(body)) {
				return "", fmt.Errorf("%w: its text should have %d bytes and has %d", ErrMalformed, first, len(body))
			}
			return string(body[:first]), nil
		}
	}
	return "", fmt.Errorf("%w: its list of sizes does not end", ErrMalformed)
}

// Bytes encodes the script as an image.
//
// Errors: ErrMalformed for an empty text or a name that does not fit.
func (s Script) Bytes() ([]byte, error) {
	if s.Text == "" || uint64(len(s.Text)) > 1<<30 {
		return nil, fmt.Errorf("%w: a text of %d bytes", ErrMalformed, len(s.Text))
	}
	if len(s.Name) > nameSize || strings.Contains(s.Name, "\x00") {
		return nil, fmt.Errorf("%w: the name %q", ErrMalformed, s.Name)
	}
	body := binary.BigEndian.AppendUint32(nil, uint32(len(s.Text)))
	body = append(binary.BigEndian.AppendUint32(body, 0), s.Text...)
	header := make([]byte, headerSize)
	binary.BigEndian.PutUint32(header, magic)
	binary.BigEndian.PutUint32(header[offsetTime:], s.Time)
	binary.BigEndian.PutUint32(header[offsetSize:], uint32(len(body)))
	binary.BigEndian.PutUint32(header[offsetDataSum:], crc32.ChecksumIEEE(body))
	header[offsetSystem], header[offsetProcessor], header[offsetType] = systemLinux, byte(s.Processor), typeScript
	copy(header[offsetName:], s.Name)
	binary.BigEndian.PutUint32(header[offsetHeaderSum:], crc32.ChecksumIEEE(header))
	return append(header, body...), nil
}
