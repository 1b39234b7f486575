// Package superblock reads what identifies a btrfs filesystem from the first
// copy of its superblock.
package superblock

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// Offset is where the superblock is on a device, in bytes, and Size how much of
// it Parse needs (BTRFS_SUPER_INFO_OFFSET and _SIZE of linux/btrfs_tree.h).
const (
	Offset = 64 << 10
	Size   = 4 << 10
)

// ErrNotBtrfs says that there is no superblock of btrfs.
var ErrNotBtrfs = errors.New("no btrfs superblock")

// Places within struct btrfs_super_block.
const (
	placeFSID    = 0x20
	placeMagic   = 0x40
	placeDevices = 0x88
	placeLabel   = 0x12b
	labelSize    = 256 // BTRFS_LABEL_SIZE
)

var magic = []byte("_BHRfS_M")

// Superblock is what tells filesystems apart.
type Superblock struct {
	UUID    string // lower-case, with dashes
	Label   string
	Devices uint64 // how many make up the filesystem
}

// Parse reads a superblock from its first Size bytes.
//
// Errors: ErrNotBtrfs.
func Parse(data []byte) (Superblock, error) {
	if len(data) < Size || !bytes.Equal(data[placeMagic:placeMagic+len(magic)], magic) {
		return Superblock{}, ErrNotBtrfs
	}
	label, _, _ := bytes.Cut(data[placeLabel:placeLabel+labelSize], []byte{0})
	return Superblock{
		UUID:    FormatUUID([16]byte(data[placeFSID:])),
		Label:   string(label),
		Devices: binary.LittleEndian.Uint64(data[placeDevices:]),
	}, nil
}

// FormatUUID gives the usual text of a UUID, lower-case.
func FormatUUID(id [16]byte) string {
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
