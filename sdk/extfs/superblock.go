// Package extfs is what a boot loader plugin has to know of ext2, ext3 and ext4: what
// the superblock says, and how a change becomes visible to a boot loader, which
// reads the disk without replaying the journal.
package extfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// SuperblockSize is how many bytes from SuperblockOffset on ParseSuperblock wants.
const (
	SuperblockOffset = 1024
	SuperblockSize   = 1024
)

// ErrNotExt says that there is no ext2, ext3 or ext4 filesystem.
var ErrNotExt = errors.New("not an ext2, ext3 or ext4 filesystem")

// Offsets and bits are those of the kernel's Documentation/filesystems/ext4/super.rst.
const (
	magicNumber   = 0xef53
	stateError    = 0x2
	compatJournal = 0x4
	dataMask      = 0x60 // of the default mount options: how file data is journaled
	dataJournal   = 0x20
)

// Features that make an ext3 an ext4, or matter to boot loaders, by their bit in
// the "incompatible" word, with the names that mke2fs and tune2fs give them.
var incompatible = map[uint32]string{
	0x1: "compression", 0x2: "filetype", 0x4: "needs_recovery", 0x8: "journal_dev", 0x10: "meta_bg",
	0x40: "extent", 0x80: "64bit", 0x100: "mmp", 0x200: "flex_bg", 0x400: "ea_inode", 0x1000: "dirdata",
	0x2000: "metadata_csum_seed", 0x4000: "large_dir", 0x8000: "inline_data", 0x10000: "encrypt", 0x20000: "casefold",
}

const (
	incompatNotExt3 = ^uint32(0x2 | 0x4 | 0x8 | 0x10)
	roCompatExt3    = uint32(0x1 | 0x2 | 0x4)
)

// Superblock is the decoded part of a superblock.
type Superblock struct {
	Kind         string // "ext2", "ext3" or "ext4", by its features
	UUID         string // lower-case, with dashes
	Label        string
	BlockSize    uint32
	Incompatible []string // features that a reader must know, sorted; unknown ones as "FEATURE_I17"
	Errors       bool     // the kernel found it damaged
	JournalsData bool     // file data goes through the journal by default
}

// ParseSuperblock decodes a superblock.
//
// Errors: ErrNotExt.
func ParseSuperblock(data []byte) (Superblock, error) {
	if len(data) < SuperblockSize {
		return Superblock{}, fmt.Errorf("%w: %d bytes of a superblock", ErrNotExt, len(data))
	}
	word := func(offset int) uint32 { return binary.LittleEndian.Uint32(data[offset:]) }
	if binary.LittleEndian.Uint16(data[0x38:]) != magicNumber || word(0x18) > 6 {
		return Superblock{}, ErrNotExt
	}
	id, err := uuid.FromBytes(data[0x68:0x78])
	if err != nil {
		return Superblock{}, fmt.Errorf("%w: %w", ErrNotExt, err)
	}
	label, _, _ := bytes.Cut(data[0x78:0x88], []byte{0})
	incompat, roCompat := word(0x60), word(0x64)
	s := Superblock{
		Kind: "ext2", UUID: id.String(), Label: string(label), BlockSize: 1024 << word(0x18),
		Incompatible: featureNames(incompat),
		Errors:       binary.LittleEndian.Uint16(data[0x3a:])&stateError != 0,
		JournalsData: word(0x100)&dataMask == dataJournal,
	}
	switch {
	case incompat&incompatNotExt3 != 0 || roCompat&^roCompatExt3 != 0:
		s.Kind = "ext4"
	case word(0x5c)&compatJournal != 0:
		s.Kind = "ext3"
	}
	return s, nil
}

func featureNames(bits uint32) []string {
	var names []string
	for i := range 32 {
		bit := uint32(1) << i
		if bits&bit == 0 {
			continue
		}
		name, ok := incompatible[bit]
		if !ok {
			name = fmt.Sprintf("FEATURE_I%d", i)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
