// Package packed knows what is packed in files, such as initial RAM disks and kernels: where it
// is, how it is unpacked, and how it may have been packed.
package packed

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/trebuchet-update/tbupdate/core/packed/lz4"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// Reader unpacks.
type Reader interface {
	io.ReadCloser
	// Skip passes over n bytes, and is quicker than to read them where that can be.
	Skip(n int64) error
}

// NewReader unpacks what was packed by a method. Memory is that of the method's window,
// for Zstandard at most v1.MaxContent.
func NewReader(method v1.PackedBy, r io.Reader) (Reader, error) {
	switch method {
	case v1.ByGzip:
		reader, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		reader.Multistream(false)
		return all{reader}, nil
	case v1.ByZstd:
		reader, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(v1.MaxContent))
		if err != nil {
			return nil, err
		}
		return all{reader.IOReadCloser()}, nil
	case v1.ByLZ4:
		return blocks{lz4.NewReader(r)}, nil
	}
	return nil, fmt.Errorf("there is no method %d of packing", method)
}

// all is unpacked from the beginning to the end.
type all struct{ io.ReadCloser }

func (r all) Skip(n int64) error {
	_, err := io.CopyN(io.Discard, r, n)
	return err
}

// blocks are unpacked as they are needed.
type blocks struct{ *lz4.Reader }

func (blocks) Close() error { return nil }

// Found is where something is packed in a file.
type Found struct {
	Method         v1.PackedBy
	Offset, Length int64
}

// Find looks whether a file of this size is packed: as a whole, behind a cpio archive that is
// not (as initial RAM disks with microcode are), or in a kernel for x86.
func Find(file io.ReaderAt, size int64) (Found, bool) {
	offset, length, ok := payload(file, size)
	if !ok {
		offset = endOfArchive(file, size)
		length = size - offset
	}
	var magic [4]byte
	if _, err := file.ReadAt(magic[:], offset); err != nil {
		return Found{}, false
	}
	switch {
	case bytes.HasPrefix(magic[:], []byte{0x1f, 0x8b, 8}): // RFC 1952
		return Found{v1.ByGzip, offset, length}, true
	case bytes.Equal(magic[:], []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878
		return Found{v1.ByZstd, offset, length}, true
	case binary.LittleEndian.Uint32(magic[:]) == lz4.Magic:
		return Found{v1.ByLZ4, offset, length}, true
	}
	return Found{}, false
}

// payload gives where in a kernel for x86 the packed kernel is (Linux:
// Documentation/arch/x86/boot.rst).
func payload(file io.ReaderAt, size int64) (offset, length int64, ok bool) {
	const (
		sectors      = 0x1f1 // number of sectors, without the first one, before the part of which the offset is
		signature    = 0x202
		version      = 0x206
		place        = 0x248 // offset and length
		headerSize   = 0x250
		leastVersion = 0x208
		sizeAtTheEnd = 4 // of what is unpacked; it belongs to the payload
	)
	var header [headerSize]byte
	if _, err := file.ReadAt(header[:], 0); err != nil || string(header[signature:][:4]) != "HdrS" || binary.LittleEndian.Uint16(header[version:]) < leastVersion {
		return 0, 0, false
	}
	offset = (1+int64(header[sectors]))*512 + int64(binary.LittleEndian.Uint32(header[place:]))
	length = int64(binary.LittleEndian.Uint32(header[place+4:])) - sizeAtTheEnd
	return offset, length, length > 0 && offset+length <= size
}

// The new ASCII format of cpio archives (Linux: Documentation/driver-api/early-userspace/buffer-format.rst).
const (
	archiveMagic  = "070701"
	archiveHeader = 110
	archiveEnd    = "TRAILER!!!"
)

// endOfArchive gives the offset behind a cpio archive that a file begins with, 0 if it
// does not.
func endOfArchive(file io.ReaderAt, size int64) int64 {
	aligned := func(n int64) int64 { return (n + 3) &^ 3 }
	for at := int64(0); ; {
		var header [archiveHeader]byte
		if _, err := file.ReadAt(header[:], at); err != nil || string(header[:len(archiveMagic)]) != archiveMagic {
			return 0
		}
		length, errLength := strconv.ParseInt(string(header[54:62]), 16, 64)
		nameLength, errName := strconv.ParseInt(string(header[94:102]), 16, 64)
		if errLength != nil || errName != nil || nameLength < 1 || nameLength > 4096 {
			return 0
		}
		name := make([]byte, nameLength)
		if _, err := file.ReadAt(name, at+archiveHeader); err != nil {
			return 0
		}
		at = aligned(aligned(at+archiveHeader+nameLength) + length)
		if string(name[:nameLength-1]) == archiveEnd {
			return endOfZeros(file, at, size)
		}
	}
}

// endOfZeros gives the offset of the first byte that is not zero.
func endOfZeros(file io.ReaderAt, at, size int64) int64 {
	buffer := make([]byte, 4096)
	for at < size {
		n, _ := file.ReadAt(buffer, at)
		if n == 0 {
			return 0
		}
		for i, b := range buffer[:n] {
			if b != 0 {
				return at + int64(i)
			}
		}
		at += int64(n)
	}
	return 0
}

// Way is how a program of a tree may have packed something.
type Way struct {
	Programs  []string // where it may be in the tree
	Arguments []string
}

// Ways gives the usual ways, the most usual first. size is of what is packed, in bytes: a
// program that packed a file knew it beforehand.
func Ways(method v1.PackedBy, size uint64) []Way {
	var ways []Way
	switch method {
	case v1.ByGzip:
		for _, level := range []string{"-6", "-9", "-1", "-2", "-3", "-4", "-5", "-7", "-8"} {
			ways = append(ways, Way{[]string{"usr/bin/gzip", "bin/gzip"}, []string{"-n", "-c", level}})
		}
	case v1.ByZstd:
		known := fmt.Sprintf("--stream-size=%d", size)
		for _, level := range []string{"-9", "-19", "-3", "-1", "-10", "-12", "-15", "-18"} {
			for _, arguments := range [][]string{{"-q", "-c", level, known}, {"-q", "-c", level}} {
				ways = append(ways, Way{[]string{"usr/bin/zstd", "bin/zstd"}, arguments})
			}
		}
	}
	return ways
}

// HeaderSize gives the size of the header of a gzip member (RFC 1952, 2.3), which holds a name
// and a time that the program would not write again; 0 where there is nothing of that kind.
func HeaderSize(file io.ReaderAt, found Found) (int64, error) {
	if found.Method != v1.ByGzip {
		return 0, nil
	}
	header := make([]byte, 64<<10)
	n, err := file.ReadAt(header, found.Offset)
	if err != nil && err != io.EOF {
		return 0, err
	}
	header = header[:n]
	const fixed = 10
	if len(header) < fixed {
		return 0, io.ErrUnexpectedEOF
	}
	flags, at := header[3], fixed
	const extra, name, comment, checksum = 4, 8, 16, 2
	if flags&extra != 0 {
		if len(header) < at+2 {
			return 0, io.ErrUnexpectedEOF
		}
		at += 2 + int(header[at]) + int(header[at+1])<<8
	}
	for _, flag := range []byte{name, comment} {
		if flags&flag == 0 {
			continue
		}
		end := -1
		if at <= len(header) {
			end = bytes.IndexByte(header[at:], 0)
		}
		if end < 0 {
			return 0, io.ErrUnexpectedEOF
		}
		at += end + 1
	}
	if flags&checksum != 0 {
		at += 2
	}
	return int64(at), nil
}

// PlainHeader is the size of the header that "gzip -n" writes.
const PlainHeader = 10
