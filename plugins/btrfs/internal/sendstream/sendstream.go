// Package sendstream reads the stream that btrfs makes of the difference between
// two snapshots, as far as names go: which command concerns which path.
//
// The format is that of fs/btrfs/send.h, version 1: a header, then commands, each
// of a 10-byte header and attributes (type, length, value). All integers are
// little-endian.
package sendstream

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Kind is what a command does.
type Kind uint16

// The commands of version 1: BTRFS_SEND_C_….
const (
	Subvol Kind = iota + 1
	Snapshot
	MakeFile
	MakeDirectory
	MakeNode
	MakeFIFO
	MakeSocket
	Symlink
	Rename
	Link
	Unlink
	RemoveDirectory
	SetXattr
	RemoveXattr
	Write
	Clone
	Truncate
	ChangeMode
	ChangeOwner
	SetTimes
	End
	UpdateExtent

	lastKind = UpdateExtent
)

// Command is one step from the old tree to the new one. Its paths are relative to
// the tree's top, which is "", and as they are at this point of the stream.
type Command struct {
	Kind Kind
	Path string
	// To is the new name of a Rename, and what a Link is made to.
	To string
}

// Attributes that hold paths: BTRFS_SEND_A_….
const (
	attributePath     = 15
	attributePathTo   = 16
	attributePathLink = 17
)

const (
	magic       = "btrfs-stream\x00"
	version     = 1
	headerSize  = 4 + 2 + 4
	sizeMaximum = 64 << 10 // BTRFS_SEND_BUF_SIZE_V1
)

// ErrMalformed is the class of all errors about the stream itself.
var ErrMalformed = errors.New("malformed send stream")

func malformed(format string, arguments ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, arguments...))
}

// Reader gives the commands of a stream, one after the other. It needs no more
// memory than the longest command, 64 KiB.
type Reader struct {
	source *bufio.Reader
	buffer []byte
	ended  bool
}

// NewReader reads the header of a stream.
func NewReader(source io.Reader) (*Reader, error) {
	r := &Reader{source: bufio.NewReaderSize(source, sizeMaximum), buffer: make([]byte, headerSize+sizeMaximum)}
	header := r.buffer[:len(magic)+4]
	if _, err := io.ReadFull(r.source, header); err != nil {
		return nil, cut(err, "header")
	}
	if string(header[:len(magic)]) != magic {
		return nil, malformed("it does not begin with %q", magic)
	}
	if v := binary.LittleEndian.Uint32(header[len(magic):]); v != version {
		return nil, malformed("version %d, only %d is known", v, version)
	}
	return r, nil
}

// Next gives the next command, and io.EOF after the End command.
func (r *Reader) Next() (Command, error) {
	if r.ended {
		return Command{}, io.EOF
	}
	header := r.buffer[:headerSize]
	if _, err := io.ReadFull(r.source, header); err != nil {
		return Command{}, cut(err, "command header")
	}
	size := binary.LittleEndian.Uint32(header)
	kind := Kind(binary.LittleEndian.Uint16(header[4:]))
	sum := binary.LittleEndian.Uint32(header[6:])
	if size > sizeMaximum {
		return Command{}, malformed("command %d of %d bytes", kind, size)
	}
	if kind < Subvol || kind > lastKind {
		return Command{}, malformed("unknown command %d", kind)
	}
	command := r.buffer[:headerSize+size]
	if _, err := io.ReadFull(r.source, command[headerSize:]); err != nil {
		return Command{}, cut(err, "command")
	}
	// The sum is over the whole command, with zeros where it stands itself.
	clear(command[6:headerSize])
	if checksum(command) != sum {
		return Command{}, malformed("checksum of command %d does not match", kind)
	}
	r.ended = kind == End
	return parse(kind, command[headerSize:])
}

// castagnoli is the polynomial of btrfs' checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the kernel's crc32c with seed 0, which, unlike Go's, inverts neither
// before nor after.
func checksum(data []byte) uint32 {
	return ^crc32.Update(^uint32(0), castagnoli, data)
}

// cut turns the end of the stream where none may be into ErrMalformed.
func cut(err error, where string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return malformed("it ends within a %s", where)
	}
	return fmt.Errorf("cannot read send stream: %w", err)
}

// parse picks the paths out of a command's attributes.
func parse(kind Kind, data []byte) (Command, error) {
	command := Command{Kind: kind}
	for len(data) > 0 {
		if len(data) < 4 {
			return Command{}, malformed("command %d ends within an attribute", kind)
		}
		attribute := binary.LittleEndian.Uint16(data)
		size := int(binary.LittleEndian.Uint16(data[2:]))
		data = data[4:]
		if size > len(data) {
			return Command{}, malformed("attribute %d of command %d goes beyond its end", attribute, kind)
		}
		value := string(data[:size])
		data = data[size:]
		switch {
		case attribute == attributePath:
			command.Path = value
		case attribute == attributePathTo && kind == Rename, attribute == attributePathLink && kind == Link:
			command.To = value
		}
	}
	return command, nil
}
