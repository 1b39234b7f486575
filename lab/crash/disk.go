package crash

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/lab/command"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// The parts of a machine's disk, in bytes.
const (
	bootStart  = 1 << 20
	bootSize   = 64 << 20
	rootStart  = bootStart + bootSize
	rootSize   = 256 << 20
	stateStart = rootStart + rootSize
	stateSize  = 4 << 20
	diskSize   = stateStart + stateSize
)

// The numbers of its partitions.
const (
	bootPartition = iota + 1
	rootPartition
	statePartition
)

// disk is a machine's, attached: /boot and the volume of the roots are devices of it. So both are
// cut off at the same instant.
type disk struct {
	loop       *loopback.Loop
	boot, root string // devices
	state      string // device for what a boot loader writes elsewhere than in /boot
	// top is where the one of them is mounted that mount was told, "" while none is.
	top string
}

// attach gives a disk in a file its devices.
func attach(image string) (*disk, error) {
	loop, err := loopback.Attach(image)
	if err != nil {
		return nil, err
	}
	d := &disk{loop: loop}
	if d.boot, err = loop.AddPartition(bootPartition, bootStart, bootSize); err == nil {
		d.root, err = loop.AddPartition(rootPartition, rootStart, rootSize)
	}
	if err == nil {
		d.state, err = loop.AddPartition(statePartition, stateStart, stateSize)
	}
	if err != nil {
		return nil, errors.Join(err, loop.Detach())
	}
	return d, nil
}

func (d *disk) detach() error { return errors.Join(d.unmount(), d.loop.Detach()) }

// mount mounts a device of the disk that has ext2, as a machine does that comes up: what was not unmounted is
// repaired before. Once it is mounted there is nothing to do.
func (d *disk) mount(ctx context.Context, device string) error {
	if d.top != "" {
		return nil
	}
	if err := repair(ctx, device); err != nil {
		return err
	}
	top, err := os.MkdirTemp("", "lab-crash-")
	if err != nil {
		return err
	}
	if err := loopback.Mount(device, top, loopback.Ext4); err != nil { // as others mount it at the same time
		return errors.Join(err, os.Remove(top))
	}
	d.top = top
	return nil
}

// unmount undoes mount.
func (d *disk) unmount() error {
	if d.top == "" {
		return nil
	}
	top := d.top
	d.top = ""
	return errors.Join(loopback.Unmount(top), os.Remove(top))
}

// repair repairs an ext filesystem that was not unmounted.
func repair(ctx context.Context, device string) error {
	_, err := command.Run(ctx, nil, "e2fsck", "-y", device)
	const repaired = 1 // or 0 for nothing to do (man e2fsck)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == repaired {
		return nil
	}
	return err
}

// sector is the unit of partition tables, in bytes.
const sector = 512

// writeTable writes a partition table, which only boot loaders read here: a master boot record, whose first
// partition is marked as the one to boot from.
func (d *disk) writeTable() error {
	const entries, entrySize, bootable = 446, 16, 0x80
	table := make([]byte, sector)
	for i, part := range []struct {
		kind        byte
		start, size uint32
	}{{0x83, bootStart, bootSize}, {0x83, rootStart, rootSize}, {0x0c, stateStart, stateSize}} {
		entry := table[entries+i*entrySize:]
		if i == 0 {
			entry[0] = bootable
		}
		entry[4] = part.kind
		binary.LittleEndian.PutUint32(entry[8:], part.start/sector)
		binary.LittleEndian.PutUint32(entry[12:], part.size/sector)
	}
	copy(table[sector-2:], "\x55\xaa")
	file, err := os.OpenFile(d.loop.Path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(table, 0)
	return errors.Join(err, file.Sync(), file.Close())
}

// copyDisk makes a copy of a disk, in a new file that shares with it what both have.
func copyDisk(ctx context.Context, from, to string) error {
	return run(ctx, "cp", "--reflink=always", from, to)
}

// attached runs act with the disk in a file attached.
func attached(image string, act func(*disk) error) error {
	d, err := attach(image)
	if err != nil {
		return err
	}
	return errors.Join(act(d), d.detach())
}

// mounted runs act with a device mounted.
func mounted(device string, filesystem loopback.Filesystem, act func(top string) error, options ...string) error {
	top, err := os.MkdirTemp("", "lab-crash-")
	if err != nil {
		return err
	}
	if err := loopback.Mount(device, top, filesystem, options...); err != nil {
		return errors.Join(err, os.Remove(top))
	}
	return errors.Join(act(top), loopback.Unmount(top), os.Remove(top))
}

// newDisk makes a machine's disk with a system on it, the way an installer does: in a subvolume, with
// the boot loader in /boot.
func newDisk(ctx context.Context, image string, l loader, s *system) error {
	if err := loopback.CreateImage(image, diskSize); err != nil {
		return err
	}
	return attached(image, func(d *disk) error {
		// What boot loaders' drivers do not know of ext4 is left out.
		if err := loopback.Format(ctx, d.boot, bootFilesystem(l), "-L", "boot", "-O", "^64bit,^metadata_csum,^metadata_csum_seed,^orphan_file"); err != nil {
			return err
		}
		if err := loopback.Format(ctx, d.root, loopback.Btrfs, "-L", "root"); err != nil {
			return err
		}
		if err := mounted(d.root, loopback.Btrfs, func(top string) error { return install(ctx, top, s) }); err != nil {
			return err
		}
		return mounted(d.boot, loopback.Ext4, func(top string) error { return l.install(ctx, d, top, s) })
	})
}

// installed is the subvolume of a system before it was taken into the layout.
const installed = "@rootfs"

func install(ctx context.Context, top string, s *system) error {
	root := filepath.Join(top, installed)
	if err := run(ctx, "btrfs", "-q", "subvolume", "create", root); err != nil {
		return err
	}
	return run(ctx, "cp", "-a", s.tree+"/.", root)
}
