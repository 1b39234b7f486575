package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dennwc/btrfs"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/ioctl"
	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/superblock"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/blockdevice"
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
	if isBlock, err := blockdevice.IsBlock(path); err != nil {
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
	wanted, err := blockdevice.Parse(setting)
	if err != nil {
		return "", because(sdk.CodeInvalid, "%w", err)
	}
	switch wanted.Tag {
	case blockdevice.Path:
		return wanted.Value, nil
	case blockdevice.PartUUID:
		return blockdevice.ByPartition(wanted.Value)
	}
	return deviceBySuperblock(wanted, setting)
}

// deviceBySuperblock looks at every block device.
func deviceBySuperblock(wanted blockdevice.Specification, setting string) (string, error) {
	found := map[string]string{}
	err := blockdevice.Each(parseSuperblock, func(path string, block superblock.Superblock) error {
		if wanted.Names(block.UUID, block.Label) {
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

func readSuperblock(path string) (superblock.Superblock, error) {
	block, err := blockdevice.Probe(path, parseSuperblock)
	if errors.Is(err, superblock.ErrNotBtrfs) {
		err = because(sdk.CodeUnsupported, "%s does not hold btrfs: %w", path, err)
	}
	return block, err
}

func parseSuperblock(device *os.File) (superblock.Superblock, error) {
	data := make([]byte, superblock.Size)
	if _, err := device.ReadAt(data, superblock.Offset); err != nil && !errors.Is(err, io.EOF) {
		return superblock.Superblock{}, err
	}
	return superblock.Parse(data)
}

// scanDevices makes the kernel know every device of a filesystem, as "btrfs
// device scan" does; it finds one of several by itself only.
func scanDevices(uuid string) error {
	control, err := os.OpenFile("/dev/btrfs-control", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	return blockdevice.Each(parseSuperblock, func(path string, block superblock.Superblock) error {
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
