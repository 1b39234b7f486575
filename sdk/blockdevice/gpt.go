package blockdevice

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FirstOfType gives the number of the first partition of a type on the disk of another
// partition: what firmware and boot loaders mean by "the" partition of that type. The
// type is a GUID. The kernel does not tell types, so the disk's GPT is read.
//
// Errors: fs.ErrNotExist when there is none, when the disk has no whole GPT, and for a
// device that is no partition.
func FirstOfType(device uint64, partitionType string) (uint64, error) {
	disk, err := diskOf(device)
	if err != nil {
		return 0, err
	}
	sectorSize, err := number(filepath.Join(disk, "queue/logical_block_size"))
	if err != nil {
		return 0, err
	}
	event, err := os.ReadFile(filepath.Join(disk, "uevent"))
	if err != nil {
		return 0, err
	}
	path := filepath.Join("/dev", variable(event, "DEVNAME"))
	types, err := Probe(path, func(file *os.File) ([]string, error) { return partitionTypes(file, int64(sectorSize)) })
	if err != nil {
		return 0, fmt.Errorf("cannot read the partitions of %s: %w", path, err)
	}
	for i, found := range types {
		if strings.EqualFold(found, partitionType) {
			return partitionNumber(disk, i+1)
		}
	}
	return 0, fmt.Errorf("%s has no partition of the type %s: %w", path, partitionType, fs.ErrNotExist)
}

// diskOf gives the directory in /sys of the disk that a partition is on.
func diskOf(device uint64) (string, error) {
	partition, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(device), unix.Minor(device)))
	if err != nil {
		return "", fmt.Errorf("cannot find the block device: %w", err)
	}
	if _, err := os.Stat(filepath.Join(partition, "partition")); err != nil {
		return "", fmt.Errorf("%s is no partition: %w", filepath.Base(partition), fs.ErrNotExist)
	}
	return filepath.Dir(partition), nil
}

// partitionNumber gives the device number of the disk's partition of an index, which
// begins with 1.
func partitionNumber(disk string, index int) (uint64, error) {
	names, err := filepath.Glob(filepath.Join(disk, "*/partition"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if own, err := number(name); err != nil || own != uint64(index) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(name), "dev"))
		if err != nil {
			return 0, err
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(string(text), "%d:%d", &major, &minor); err != nil {
			return 0, fmt.Errorf("%s/dev says %q: %w", filepath.Dir(name), text, err)
		}
		return unix.Mkdev(major, minor), nil
	}
	return 0, fmt.Errorf("the kernel knows no partition %d of %s: %w", index, filepath.Base(disk), fs.ErrNotExist)
}

// number reads a file of /sys that holds one.
func number(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// The GPT's header and entries (UEFI specification, 5.3.2 and 5.3.3).
const (
	gptSignature  = "EFI PART"
	gptHeaderSize = 92
	gptEntrySize  = 128
	gptMaxEntries = 1024
)

var errNoGPT = errors.New("there is no whole GPT")

// partitionTypes gives the type of each entry of a disk's GPT, in its order; that of
// an unused entry is all zeros.
func partitionTypes(disk io.ReaderAt, sectorSize int64) ([]string, error) {
	bad := fmt.Errorf("%w: %w", errNoGPT, fs.ErrNotExist)
	header := make([]byte, gptHeaderSize)
	if _, err := disk.ReadAt(header, sectorSize); err != nil {
		return nil, fmt.Errorf("%w: %w", bad, err)
	}
	little := binary.LittleEndian
	sum := little.Uint32(header[16:])
	little.PutUint32(header[16:], 0)
	if string(header[:8]) != gptSignature || little.Uint32(header[12:]) != gptHeaderSize || crc32.ChecksumIEEE(header) != sum {
		return nil, bad
	}
	first, count, size := little.Uint64(header[72:]), little.Uint32(header[80:]), little.Uint32(header[84:])
	if count > gptMaxEntries || size != gptEntrySize || first > 1<<32 {
		return nil, bad
	}
	entries := make([]byte, count*size)
	if _, err := disk.ReadAt(entries, int64(first)*sectorSize); err != nil {
		return nil, fmt.Errorf("%w: %w", bad, err)
	}
	if crc32.ChecksumIEEE(entries) != little.Uint32(header[88:]) {
		return nil, bad
	}
	var types []string
	for ; len(entries) > 0; entries = entries[size:] {
		types = append(types, formatGUID([16]byte(entries[:16])))
	}
	return types, nil
}

// formatGUID gives a GUID as people write it: its first three numbers are little-endian
// (UEFI specification, appendix A).
func formatGUID(g [16]byte) string {
	little := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", little.Uint32(g[:]), little.Uint16(g[4:]), little.Uint16(g[6:]), g[8:10], g[10:])
}
