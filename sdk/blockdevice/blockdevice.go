// Package blockdevice finds block devices by what people write into a
// configuration: a path, UUID=…, LABEL=… or PARTUUID=….
//
// It asks the kernel and the devices themselves. The links that udev makes may be
// missing in an early boot or a rescue system, and stale after a disk was copied.
package blockdevice

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Tag says by what a Specification names a device.
type Tag string

// The tags.
const (
	Path     Tag = "" // a path
	UUID     Tag = "UUID"
	Label    Tag = "LABEL"
	PartUUID Tag = "PARTUUID"
)

// Specification names a device or the filesystem on it.
type Specification struct {
	Tag   Tag
	Value string // without quotes
}

// Parse reads a specification. A path is absolute.
func Parse(text string) (Specification, error) {
	if strings.HasPrefix(text, "/") {
		return Specification{Path, text}, nil
	}
	tag, value, _ := strings.Cut(text, "=")
	value = strings.Trim(value, `"`)
	switch Tag(tag) {
	case UUID, Label, PartUUID:
		if value != "" {
			return Specification{Tag(tag), value}, nil
		}
	}
	return Specification{}, fmt.Errorf(`%q is neither "UUID=…", "LABEL=…", "PARTUUID=…" nor a device's path`, text)
}

// Names says whether s names a filesystem with this UUID and label.
func (s Specification) Names(uuid, label string) bool {
	return s.Tag == UUID && strings.EqualFold(uuid, s.Value) || s.Tag == Label && label == s.Value
}

// Each probes every block device and calls visit for those where that succeeds. A
// device that cannot be opened or read, such as one without a medium, is left out.
func Each[T any](probe func(*os.File) (T, error), visit func(path string, found T) error) error {
	names, err := os.ReadDir("/sys/class/block")
	if err != nil {
		return fmt.Errorf("cannot list block devices: %w", err)
	}
	for _, name := range names {
		// As the kernel names cciss!c0d0.
		path := filepath.Join("/dev", strings.ReplaceAll(name.Name(), "!", "/"))
		found, err := Probe(path, probe)
		if err != nil {
			continue
		}
		if err := visit(path, found); err != nil {
			return err
		}
	}
	return nil
}

// Probe opens a device, without waiting for a medium, and gives what probe reads.
// Errors are those of open(2) and of probe, unchanged.
func Probe[T any](path string, probe func(*os.File) (T, error)) (T, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		var none T
		return none, err
	}
	defer file.Close()
	return probe(file)
}

// IsBlock says whether the path leads to a block device.
func IsBlock(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return info.Mode().Type() == fs.ModeDevice, nil
}

// ByPartition gives the path of a partition by its UUID in the partition table, as
// the kernel knows it, or else udev.
//
// Errors: fs.ErrNotExist.
func ByPartition(uuid string) (string, error) {
	events, err := filepath.Glob("/sys/class/block/*/uevent")
	if err != nil {
		return "", err
	}
	for _, event := range events {
		data, err := os.ReadFile(event)
		if err != nil {
			continue // gone since
		}
		if own := variable(data, "PARTUUID"); own != "" && strings.EqualFold(own, uuid) {
			return filepath.Join("/dev", variable(data, "DEVNAME")), nil
		}
	}
	if uuid != "" && !strings.Contains(uuid, "/") {
		if path, err := filepath.EvalSymlinks("/dev/disk/by-partuuid/" + strings.ToLower(uuid)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no partition has the UUID %s: %w", uuid, fs.ErrNotExist)
}

// ByNumber gives the path of a block device by its number, as stat(2) has it.
func ByNumber(number uint64) (string, error) {
	event, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/uevent", unix.Major(number), unix.Minor(number)))
	if err != nil {
		return "", fmt.Errorf("cannot find the block device: %w", err)
	}
	name := variable(event, "DEVNAME")
	if name == "" {
		return "", fmt.Errorf("block device %d:%d has no name: %w", unix.Major(number), unix.Minor(number), fs.ErrNotExist)
	}
	return filepath.Join("/dev", name), nil
}

// variable gives one of the lines NAME=VALUE of a uevent file, "" for none.
func variable(event []byte, name string) string {
	for line := range strings.Lines(string(event)) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
