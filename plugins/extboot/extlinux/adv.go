// Package extlinux is the codec of what extlinux and U-Boot's "sysboot" read:
// extlinux.conf, and the auxiliary data vector in which extlinux alone keeps what
// to boot once. Bytes in, values out, no I/O.
package extlinux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// VectorSize is the length in bytes of the auxiliary data vector (ADV): the end
// of the file ldlinux.sys, two copies of one sector.
const VectorSize = 2 * copySize

// The layout of a copy, as in syslinux' libinstaller/setadv.c: two 32-bit words
// (a magic number, and what makes the sum of all data words another one), records,
// a last magic number.
const (
	copySize   = 512
	dataStart  = 8
	dataEnd    = copySize - 4
	magicHead  = 0x5a2d2fa5
	magicSum   = 0xa3041767
	magicTail  = 0xdd28bf64
	maxRecord  = 255
	tagOnce    = 1 // the label to boot once, without a final NUL
	tagEnd     = 0
	recordHead = 2 // tag and length
)

// Errors of vectors.
var (
	ErrMalformed = errors.New("no valid auxiliary data vector")
	ErrFull      = errors.New("the auxiliary data vector is full")
)

// Vector is the decoded auxiliary data vector. Records with unknown tags are kept.
type Vector struct {
	records []record
}

type record struct {
	tag  byte
	data []byte
}

// ParseVector decodes VectorSize bytes. Like the loader it takes the first copy
// that is valid.
//
// Errors: ErrMalformed when neither is.
func ParseVector(data []byte) (Vector, error) {
	if len(data) != VectorSize {
		return Vector{}, fmt.Errorf("%w: %d bytes instead of %d", ErrMalformed, len(data), VectorSize)
	}
	for _, c := range [][]byte{data[:copySize], data[copySize:]} {
		if validCopy(c) {
			return Vector{parseRecords(c[dataStart:dataEnd])}, nil
		}
	}
	return Vector{}, fmt.Errorf("%w: both copies are damaged", ErrMalformed)
}

func validCopy(c []byte) bool {
	return binary.LittleEndian.Uint32(c) == magicHead &&
		binary.LittleEndian.Uint32(c[dataEnd:]) == magicTail &&
		binary.LittleEndian.Uint32(c[4:]) == checksum(c)
}

func checksum(c []byte) uint32 {
	sum := uint32(magicSum)
	for i := dataStart; i < dataEnd; i += 4 {
		sum -= binary.LittleEndian.Uint32(c[i:])
	}
	return sum
}

func parseRecords(data []byte) []record {
	var records []record
	for len(data) >= recordHead && data[0] != tagEnd {
		length := int(data[1])
		if recordHead+length > len(data) {
			break // the loader stops here too
		}
		records = append(records, record{data[0], slices.Clone(data[recordHead : recordHead+length])})
		data = data[recordHead+length:]
	}
	return records
}

// Once gives the label that the next start boots, "" for none.
func (v Vector) Once() string {
	for _, r := range v.records {
		if r.tag == tagOnce {
			return string(r.data)
		}
	}
	return ""
}

// SetOnce makes the next start boot label, once; "" takes that back.
func (v *Vector) SetOnce(label string) {
	v.records = slices.DeleteFunc(slices.Clone(v.records), func(r record) bool { return r.tag == tagOnce })
	if label != "" {
		v.records = append(v.records, record{tagOnce, []byte(label)})
	}
}

// Bytes encodes both copies. The first one, which the loader prefers, is a sector
// by itself: written over another vector, a loss of power leaves the old one or
// the new one.
//
// Errors: ErrFull.
func (v Vector) Bytes() ([]byte, error) {
	c := make([]byte, copySize)
	next := dataStart
	for _, r := range v.records {
		if len(r.data) > maxRecord || next+recordHead+len(r.data) > dataEnd {
			return nil, fmt.Errorf("%w: no room for %d bytes", ErrFull, len(r.data))
		}
		c[next], c[next+1] = r.tag, byte(len(r.data))
		next += recordHead + copy(c[next+recordHead:], r.data)
	}
	binary.LittleEndian.PutUint32(c, magicHead)
	binary.LittleEndian.PutUint32(c[dataEnd:], magicTail)
	binary.LittleEndian.PutUint32(c[4:], checksum(c))
	return append(slices.Clone(c), c...), nil
}
