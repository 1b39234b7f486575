package extfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// FindDevice gives the path of the block device that a specification names: a
// path, UUID=… or LABEL=…. It looks at the devices themselves, not at udev's links,
// which an early boot or a rescue system may lack.
//
// Errors: ErrNotFound, ErrAmbiguous.
func FindDevice(specification string) (string, error) {
	kind, value, tagged := strings.Cut(specification, "=")
	if !tagged {
		return checkDevice(specification)
	}
	value = strings.Trim(value, `"`)
	if kind != "UUID" && kind != "LABEL" || value == "" {
		return "", fmt.Errorf("%w: %q is neither a path nor UUID=… nor LABEL=…", ErrNotFound, specification)
	}
	names, err := os.ReadDir("/sys/class/block")
	if err != nil {
		return "", fmt.Errorf("cannot list block devices: %w", err)
	}
	var found []string
	for _, entry := range names {
		path := filepath.Join("/dev", strings.ReplaceAll(entry.Name(), "!", "/"))
		superblock, err := readSuperblock(path)
		if err != nil {
			continue // no medium, no permission, another filesystem: not what is looked for
		}
		if kind == "UUID" && strings.EqualFold(superblock.UUID, value) || kind == "LABEL" && superblock.Label == value {
			found = append(found, path)
		}
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
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotFound, &os.PathError{Op: "stat", Path: path, Err: err})
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("%w: %s is not a block device", ErrNotFound, path)
	}
	return path, nil
}

// devicePath gives the node of a block device by its number.
func devicePath(number uint64) (string, error) {
	event, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/uevent", unix.Major(number), unix.Minor(number)))
	if err != nil {
		return "", fmt.Errorf("cannot find the block device: %w", err)
	}
	for line := range strings.Lines(string(event)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok {
			return filepath.Join("/dev", name), nil
		}
	}
	return "", fmt.Errorf("%w: block device %d:%d has no name", ErrNotFound, unix.Major(number), unix.Minor(number))
}

func readSuperblock(path string) (Superblock, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return Superblock{}, err
	}
	defer file.Close()
	return parseSuperblockOf(file)
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
