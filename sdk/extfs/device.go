package extfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk/blockdevice"
)

// FindDevice gives the path of the block device that a specification names: a
// path, UUID=…, LABEL=… or PARTUUID=….
//
// Errors: ErrNotFound, ErrAmbiguous.
func FindDevice(specification string) (string, error) {
	wanted, err := blockdevice.Parse(specification)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	switch wanted.Tag {
	case blockdevice.Path:
		return checkDevice(wanted.Value)
	case blockdevice.PartUUID:
		path, err := blockdevice.ByPartition(wanted.Value)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrNotFound, err)
		}
		return path, err
	}
	return findFilesystem(wanted, specification)
}

func findFilesystem(wanted blockdevice.Specification, specification string) (string, error) {
	var found []string
	err := blockdevice.Each(parseSuperblockOf, func(path string, superblock Superblock) error {
		if wanted.Names(superblock.UUID, superblock.Label) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%w: no block device holds an ext filesystem with %s", ErrNotFound, specification)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%w: %s is on %s", ErrAmbiguous, specification, strings.Join(found, ", "))
}

func checkDevice(path string) (string, error) {
	isBlock, err := blockdevice.IsBlock(path)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if !isBlock {
		return "", fmt.Errorf("%w: %s is not a block device", ErrNotFound, path)
	}
	return path, nil
}

func parseSuperblockOf(file *os.File) (Superblock, error) {
	data := make([]byte, SuperblockSize)
	if _, err := file.ReadAt(data, SuperblockOffset); err != nil {
		if errors.Is(err, io.EOF) {
			return Superblock{}, ErrNotExt
		}
		return Superblock{}, err
	}
	superblock, err := ParseSuperblock(data)
	if err != nil {
		if other := otherFilesystem(file); other != "" {
			err = fmt.Errorf("%w: it holds %s", err, other)
		}
	}
	return superblock, err
}

// otherFilesystem names what else a device holds, for people, or "".
func otherFilesystem(file io.ReaderAt) string {
	for _, known := range []struct {
		name   string
		offset int64
		magic  string
	}{
		{"btrfs", 0x10040, "_BHRfS_M"}, {"xfs", 0, "XFSB"}, {"vfat", 82, "FAT32"}, {"vfat", 54, "FAT1"},
		{"squashfs", 0, "hsqs"}, {"an encrypted LUKS volume", 0, "LUKS"}, {"f2fs", 1024, "\x10\x20\xf5\xf2"},
	} {
		data := make([]byte, len(known.magic))
		if _, err := file.ReadAt(data, known.offset); err == nil && string(data) == known.magic {
			return known.name
		}
	}
	return ""
}
