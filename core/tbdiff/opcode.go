// Package tbdiff reads and writes tbdiff streams, version 0: the format that turns
// one directory tree (the origin) into another (the target), as the original C
// tools write and deploy it.
//
// The package is a pure codec: bytes to commands and commands to bytes. It touches
// no filesystem. What can be seen to be wrong without a tree is refused here, by
// the Reader and the Writer alike: names that are not one plain path component,
// unknown commands, impossible modes, a stream that leaves its top directory, ends
// early or goes on after its end. Memory is bounded by the limits below, never by
// what a stream claims; the content of files is passed through.
package tbdiff

import "fmt"

// Opcode is the first byte of a command.
type Opcode byte

// The commands of version 0. OpEntityMove and OpEntityCopy are reserved: nothing
// writes them and readers refuse them.
const (
	OpIdentify      Opcode = 0x00
	OpUpdate        Opcode = 0x01
	OpDirCreate     Opcode = 0x10
	OpDirEnter      Opcode = 0x11
	OpDirLeave      Opcode = 0x12
	OpDirDelta      Opcode = 0x13
	OpFileCreate    Opcode = 0x20
	OpFileDelta     Opcode = 0x21
	OpFileMetadata  Opcode = 0x22
	OpEntityMove    Opcode = 0x30
	OpEntityCopy    Opcode = 0x31
	OpEntityDelete  Opcode = 0x32
	OpSymlinkCreate Opcode = 0x40
	OpSpecialCreate Opcode = 0x50
	OpXattrsUpdate  Opcode = 0x60
)

// String gives the command's name in the format's description, such as
// "FILE_DELTA", or "opcode 0x7f" for a byte that is no command.
func (o Opcode) String() string {
	switch o {
	case OpIdentify:
		return "IDENTIFY"
	case OpUpdate:
		return "UPDATE"
	case OpDirCreate:
		return "DIR_CREATE"
	case OpDirEnter:
		return "DIR_ENTER"
	case OpDirLeave:
		return "DIR_LEAVE"
	case OpDirDelta:
		return "DIR_DELTA"
	case OpFileCreate:
		return "FILE_CREATE"
	case OpFileDelta:
		return "FILE_DELTA"
	case OpFileMetadata:
		return "FILE_METADATA_UPDATE"
	case OpEntityMove:
		return "ENTITY_MOVE"
	case OpEntityCopy:
		return "ENTITY_COPY"
	case OpEntityDelete:
		return "ENTITY_DELETE"
	case OpSymlinkCreate:
		return "SYMLINK_CREATE"
	case OpSpecialCreate:
		return "SPECIAL_CREATE"
	case OpXattrsUpdate:
		return "XATTRS_UPDATE"
	}
	return fmt.Sprintf("opcode 0x%02x", byte(o))
}
