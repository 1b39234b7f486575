package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dennwc/btrfs"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/ioctl"
	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/superblock"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// findDevice gives the path of a device that holds the filesystem of the
// settings, and makes the kernel know all devices of that filesystem.
func findDevice(setup sdk.Setup) (string, error) {
	setting, set := setup.Settings[keyDevice]
	if !set || setting == "" {
		if !setup.Live {
			return "", because(sdk.CodeInvalid, "the setting %q is needed to work on a system that this machine did not boot", keyDevice)
		}
		return deviceOfRoot()
	}
	path, err := deviceBySetting(setting)
	if err != nil {
		return "", err
	}
	if isBlock, err := isBlockDevice(path); err != nil {
		return "", err
	} else if !isBlock {
		return "", because(sdk.CodeUnsupported, "%s is not a block device", path)
	}
	block, err := readSuperblock(path)
	if err != nil {
		return "", err
	}
	if block.Devices > 1 {
		err = scanDevices(block.UUID)
	}
	return path, err
}

// deviceBySetting resolves "UUID=…", "LABEL=…", "PARTUUID=…" and paths.
func deviceBySetting(setting string) (string, error) {
	kind, value, tagged := strings.Cut(setting, "=")
	value = strings.Trim(value, `"`)
	switch {
	case strings.HasPrefix(setting, "/"):
		return setting, nil
	case !tagged || value == "":
	case kind == "UUID":
		return deviceBySuperblock(setting, func(s superblock.Superblock) bool { return strings.EqualFold(s.UUID, value) })
	case kind == "LABEL":
		return deviceBySuperblock(setting, func(s superblock.Superblock) bool { return s.Label == value })
	case kind == "PARTUUID":
		return deviceByPartition(value)
	}
	return "", because(sdk.CodeInvalid, `%q is neither "UUID=…", "LABEL=…", "PARTUUID=…" nor a device's path`, setting)
}

// deviceBySuperblock looks at every block device. It does without udev's links:
// they may be missing in an initramfs, and stale after a disk was copied.
func deviceBySuperblock(setting string, match func(superblock.Superblock) bool) (string, error) {
	found := map[string]string{}
	err := eachBtrfs(func(path string, block superblock.Superblock) error {
		if match(block) {
			found[block.UUID] = path
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if len(found) > 1 {
		return "", because(sdk.CodeInvalid, "%d filesystems answer to %s", len(found), setting)
	}
	for _, path := range found {
		return path, nil
	}
	return "", because(sdk.CodeNotFound, "no block device holds a btrfs with %s", setting)
}

// deviceByPartition finds a partition by the UUID in its table, as the kernel
// (PARTUUID in a partition's uevent file) or udev knows it.
func deviceByPartition(uuid string) (string, error) {
	if path, err := filepath.EvalSymlinks("/dev/disk/by-partuuid/" + strings.ToLower(uuid)); err == nil && !strings.Contains(uuid, "/") {
		return path, nil
	}
	events, err := filepath.Glob("/sys/class/block/*/uevent")
	if err != nil {
		return "", err
	}
	for _, event := range events {
		data, err := os.ReadFile(event)
		if err != nil {
			continue // gone since
		}
		for line := range strings.Lines(string(data)) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), "PARTUUID="); ok && strings.EqualFold(value, uuid) {
				return "/dev/" + filepath.Base(filepath.Dir(event)), nil
			}
		}
	}
	return "", because(sdk.CodeNotFound, "no partition has the UUID %s", uuid)
}

// eachBtrfs calls visit for every block device with a btrfs superblock.
func eachBtrfs(visit func(path string, block superblock.Superblock) error) error {
	names, err := os.ReadDir("/sys/class/block")
	if err != nil {
		return err
	}
	for _, name := range names {
		path := "/dev/" + strings.ReplaceAll(name.Name(), "!", "/") // as the kernel names cciss!c0d0
		block, err := readSuperblock(path)
		if err != nil {
			continue // empty, in use, removed, or something else
		}
		if err := visit(path, block); err != nil {
			return err
		}
	}
	return nil
}

func isBlockDevice(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return info.Mode().Type() == fs.ModeDevice, nil
}

func readSuperblock(path string) (superblock.Superblock, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return superblock.Superblock{}, err
	}
	defer file.Close()
	data := make([]byte, superblock.Size)
	if _, err := file.ReadAt(data, superblock.Offset); err != nil && !errors.Is(err, io.EOF) {
		return superblock.Superblock{}, err
	}
	block, err := superblock.Parse(data)
	if err != nil {
		return block, because(sdk.CodeUnsupported, "%s does not hold btrfs: %w", path, err)
	}
	return block, nil
}

// scanDevices makes the kernel know every device of a filesystem, as "btrfs
// device scan" does; it finds one of several by itself only.
func scanDevices(uuid string) error {
	control, err := os.OpenFile("/dev/btrfs-control", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	return eachBtrfs(func(path string, block superblock.Superblock) error {
		if block.UUID != uuid {
			return nil
		}
		if err := ioctl.ScanDevice(int(control.Fd()), path); err != nil {
			return fmt.Errorf("cannot scan %s: %w", path, err)
		}
		return nil
	})
}

// deviceOfRoot gives a device of the filesystem that is mounted as "/". It asks
// the filesystem: the table of mounts may say "/dev/root".
func deviceOfRoot() (string, error) {
	if isBtrfs, err := isBtrfs("/"); err != nil {
		return "", err
	} else if !isBtrfs {
		return "", because(sdk.CodeUnsupported, "/ is not on btrfs")
	}
	root, err := os.Open("/")
	if err != nil {
		return "", err
	}
	defer root.Close()
	// Open of package btrfs refuses a directory that is not the top of a
	// subvolume, which a bind mount at "/" could be.
	control, err := btrfs.Open("/", true)
	if err != nil {
		return "", because(sdk.CodeUnsupported, "/ is not the top of a btrfs subvolume: %w", err)
	}
	defer control.Close()
	paths, err := devicePaths(control)
	if err != nil {
		return "", err
	}
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", because(sdk.CodeNotFound, "none of the devices of / is there: %s", strings.Join(paths, ", "))
}

func isBtrfs(path string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, err
	}
	return uint32(st.Type) == btrfs.SuperMagic, nil
}

// devicePaths lists the devices of a mounted filesystem.
func devicePaths(control *btrfs.FS) ([]string, error) {
	var paths []string
	err := eachDevice(control, func(_ uint64, device btrfs.DevInfo) error {
		paths = append(paths, device.Path)
		return nil
	})
	return paths, err
}

// eachDevice calls visit for every device of a mounted filesystem; a missing one
// has no path. Ids may have holes.
func eachDevice(control *btrfs.FS, visit func(id uint64, device btrfs.DevInfo) error) error {
	info, err := control.Info()
	if err != nil {
		return err
	}
	for id := uint64(0); id <= info.MaxID; id++ {
		device, err := control.GetDevInfo(id)
		if errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot read about device %d: %w", id, err)
		}
		if err := visit(id, device); err != nil {
			return err
		}
	}
	return nil
}
