package v1

// Op is the opcode of a command.
type Op byte

// The opcodes.
const (
	OpDirectory Op = 1 + iota
	OpWrite
	OpFile
	OpSymlink
	OpCharacter
	OpBlock
	OpFIFO
	OpLink
	OpMove
	OpMeta
	OpDelete
)

var opNames = [...]string{
	OpDirectory: "DIRECTORY", OpWrite: "WRITE", OpFile: "FILE", OpSymlink: "SYMLINK", OpCharacter: "CHARACTER",
	OpBlock: "BLOCK", OpFIFO: "FIFO", OpLink: "LINK", OpMove: "MOVE", OpMeta: "META", OpDelete: "DELETE",
}

// String gives the name that the specification uses.
func (o Op) String() string {
	if int(o) < len(opNames) && opNames[o] != "" {
		return opNames[o]
	}
	return "unknown command"
}

// Command says what becomes of one path. The types of this file are all that there
// are, each used as a value.
type Command interface {
	Op() Op
	// Subject is the path, relative to the top; "" is the top itself.
	Subject() string
}

// Path is what a command is about. It is embedded in every command.
type Path string

// Subject gives the path.
func (p Path) Subject() string { return string(p) }

// Metadata is all that an entry has beside its type and content.
type Metadata struct {
	Mode        uint32 // the lower 12 bits of st_mode
	UID, GID    uint32
	Seconds     int64  // of the modification time, since 1970
	Nanoseconds uint32 // 0 to 999999999
	Attributes  []Attribute
}

// Attribute is an extended attribute.
type Attribute struct {
	Name  string // with its namespace
	Value []byte
}

// Directory makes a directory, or gives one that is there this metadata.
type Directory struct {
	Path
	Metadata
}

// Write is the beginning of a plain file of which there is more in a later frame.
type Write struct {
	Path
	Before // of the first Write of a file; a later one has none
	Parts  []Part
}

// Before is what a command expects at the path where it puts something: 1 and the number
// of a file of the frame's list, or 0 for what nobody expects anything of.
type Before int

// File gives the number in the frame's list, and whether there is one.
func (b Before) File() (int, bool) { return int(b) - 1, b > 0 }

// Expect gives the Before of a file of the frame's list.
func Expect(file int) Before { return Before(file + 1) }

// PlainFile is a plain file, or the end of one that Writes began.
type PlainFile struct {
	Path
	Metadata
	Before        // where no Write came before
	Size   uint64 // of the whole file
	Digest Digest // of its whole content
	Parts  []Part
}

// Symlink is a symbolic link. Its Mode is 0777.
type Symlink struct {
	Path
	Metadata
	Before
	Target string
}

// Device is a device node.
type Device struct {
	Path
	Metadata
	Before
	Block        bool // else a character device
	Major, Minor uint32
}

// FIFO is a named pipe.
type FIFO struct {
	Path
	Metadata
	Before
}

// Link gives what is at To a further name.
type Link struct {
	Path
	Before
	To string
}

// Move gives what is at From this name instead of its own.
type Move struct {
	Path
	Before
	Moved Before // what is at From
	From  string
}

// Mask names fields of Metadata.
type Mask byte

// Bits of a Mask.
const (
	MaskMode Mask = 1 << iota
	MaskUID
	MaskGID
	MaskTime
	MaskAttributes

	maskAll = MaskMode | MaskUID | MaskGID | MaskTime | MaskAttributes
)

// Meta changes those fields of the metadata that Mask names. The others are zero here.
type Meta struct {
	Path
	Mask Mask
	Metadata
}

// Delete removes an entry; a directory goes with all that is below it.
type Delete struct {
	Path
}

// Op gives OpDirectory.
func (Directory) Op() Op { return OpDirectory }

// Op gives OpWrite.
func (Write) Op() Op { return OpWrite }

// Op gives OpFile.
func (PlainFile) Op() Op { return OpFile }

// Op gives OpSymlink.
func (Symlink) Op() Op { return OpSymlink }

// Op gives OpCharacter or OpBlock.
func (d Device) Op() Op {
	if d.Block {
		return OpBlock
	}
	return OpCharacter
}

// Op gives OpFIFO.
func (FIFO) Op() Op { return OpFIFO }

// Op gives OpLink.
func (Link) Op() Op { return OpLink }

// Op gives OpMove.
func (Move) Op() Op { return OpMove }

// Op gives OpMeta.
func (Meta) Op() Op { return OpMeta }

// Op gives OpDelete.
func (Delete) Op() Op { return OpDelete }

// PartKind says where a part of a file comes from.
type PartKind byte

// The kinds of parts.
const (
	Data   PartKind = iota // the next bytes of the frame's content
	Hole                   // zeros that take no room
	Copy                   // bytes of a file of the frame's list
	Repack                 // what the parts up to the next Repack make, packed
)

// Part is a piece of a plain file.
//
// A Repack with a Length begins what is packed, and one without ends it; there are no others
// in between. Who packs is the deployer itself by the method By, which makes Length bytes. Or
// By is AsItIs: then the program of the tree that is the file of that number in the frame's
// list gets what follows as its input, and of its output Length bytes from Offset on belong to
// the file, which are the last ones.
type Part struct {
	Kind   PartKind
	Length uint64
	// File and Offset say what a Copy copies: File is an index into Frame.Files.
	File   int
	Offset uint64
	// By is how a Repack packs.
	By PackedBy
	// Arguments are the program's.
	Arguments []string
}

// partsOf gives the parts of a command that has any.
func partsOf(c Command) []Part {
	switch c := c.(type) {
	case Write:
		return c.Parts
	case PlainFile:
		return c.Parts
	}
	return nil
}

// BeforeOf gives what a command expects where it puts something.
func BeforeOf(c Command) Before {
	if c, ok := c.(interface{ before() Before }); ok {
		return c.before()
	}
	return 0
}

func (b Before) before() Before { return b }
