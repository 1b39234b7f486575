package tbdiff

// Mask says which metadata of an entry differ between origin and target. All
// fields are present in a command whatever its mask.
type Mask uint16

// Bits of a Mask.
const (
	MaskMtime Mask = 1
	MaskMode  Mask = 2
	MaskUID   Mask = 4
	MaskGID   Mask = 8
	MaskRdev  Mask = 16

	maskAll = MaskMtime | MaskMode | MaskUID | MaskGID | MaskRdev
)

// Command is one step of a stream. The types of this file are all that there are,
// each used as a value.
//
// Common to their fields: Name is one path component within the directory that the
// stream is in. Mtime is seconds since 1970 as a two's complement number, so that
// earlier times are large ones. Mode is a whole st_mode, type bits included.
type Command interface {
	// Opcode says which command it is.
	Opcode() Opcode
}

// Identify begins a stream, exactly once. It carries the format's name and version.
type Identify struct{}

// Update ends a stream. A stream without it is truncated.
type Update struct{}

// DirCreate makes a directory.
type DirCreate struct {
	Name           string
	Mtime          uint64
	UID, GID, Mode uint32
}

// DirEnter makes a directory the one that the commands after it are about.
type DirEnter struct {
	Name string
}

// DirLeave goes back to the directory above and sets the modification time of the
// one that is left.
type DirLeave struct {
	Mtime uint64
}

// DirDelta changes the metadata of a directory: those of Mtime, UID and GID that
// Mask names, and Mode always.
type DirDelta struct {
	Mask           Mask
	Mtime          uint64
	UID, GID, Mode uint32
	Name           string
}

// FileCreate makes a plain file. Its payload is the content, Size bytes.
type FileCreate struct {
	Name           string
	Mtime          uint64
	Mode, UID, GID uint32
	Size           uint32
}

// FileDelta changes the content of a plain file to
//
//	old[0:Start] + payload + old[End:]
//
// where the payload has Size bytes, and then sets all its metadata, whatever Mask
// says. The file has no extended attributes afterwards: an XattrsUpdate that
// follows brings those of the target.
type FileDelta struct {
	Name           string
	Mask           Mask
	Mtime          uint64
	UID, GID, Mode uint32
	Start, End     uint32
	Size           uint32
}

// FileMetadata changes the metadata of a plain file: those of Mtime, UID and GID
// that Mask names, and Mode always.
type FileMetadata struct {
	Mask           Mask
	Mtime          uint64
	UID, GID, Mode uint32
	Name           string
}

// EntityDelete removes an entry; a directory goes with all below it.
type EntityDelete struct {
	Name string
}

// SymlinkCreate makes a symbolic link to Target, which is free text for the format:
// up to 4095 bytes, not empty, without NUL.
type SymlinkCreate struct {
	Mtime    uint64
	UID, GID uint32
	Name     string
	Target   string
}

// SpecialCreate makes a device node or a FIFO. Rdev is the device number as in the
// low 32 bits of st_rdev.
//
// Mode may also name a socket: the C tool writes that by mistake when a whole new
// directory holds one. A reader passes it on, a deployer creates nothing for it,
// and the Writer refuses it.
type SpecialCreate struct {
	Name           string
	Mtime          uint64
	Mode, UID, GID uint32
	Rdev           uint32
}

// XattrsUpdate replaces all extended attributes of an entry with Attributes, which
// may be none.
type XattrsUpdate struct {
	Name       string
	Attributes []Xattr
}

// Xattr is one extended attribute. Name includes the namespace, as "user.origin".
type Xattr struct {
	Name  string
	Value []byte
}

// Opcode gives OpIdentify.
func (Identify) Opcode() Opcode { return OpIdentify }

// Opcode gives OpUpdate.
func (Update) Opcode() Opcode { return OpUpdate }

// Opcode gives OpDirCreate.
func (DirCreate) Opcode() Opcode { return OpDirCreate }

// Opcode gives OpDirEnter.
func (DirEnter) Opcode() Opcode { return OpDirEnter }

// Opcode gives OpDirLeave.
func (DirLeave) Opcode() Opcode { return OpDirLeave }

// Opcode gives OpDirDelta.
func (DirDelta) Opcode() Opcode { return OpDirDelta }

// Opcode gives OpFileCreate.
func (FileCreate) Opcode() Opcode { return OpFileCreate }

// Opcode gives OpFileDelta.
func (FileDelta) Opcode() Opcode { return OpFileDelta }

// Opcode gives OpFileMetadata.
func (FileMetadata) Opcode() Opcode { return OpFileMetadata }

// Opcode gives OpEntityDelete.
func (EntityDelete) Opcode() Opcode { return OpEntityDelete }

// Opcode gives OpSymlinkCreate.
func (SymlinkCreate) Opcode() Opcode { return OpSymlinkCreate }

// Opcode gives OpSpecialCreate.
func (SpecialCreate) Opcode() Opcode { return OpSpecialCreate }

// Opcode gives OpXattrsUpdate.
func (XattrsUpdate) Opcode() Opcode { return OpXattrsUpdate }

// nameOf gives the name that a command is about, "" where it has none.
func nameOf(command Command) string {
	switch c := command.(type) {
	case DirCreate:
		return c.Name
	case DirEnter:
		return c.Name
	case DirDelta:
		return c.Name
	case FileCreate:
		return c.Name
	case FileDelta:
		return c.Name
	case FileMetadata:
		return c.Name
	case EntityDelete:
		return c.Name
	case SymlinkCreate:
		return c.Name
	case SpecialCreate:
		return c.Name
	case XattrsUpdate:
		return c.Name
	}
	return ""
}
