package crash

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// The parts of a machine's disk, in bytes. It has no partition table: nobody reads one here.
const (
	bootStart = 1 << 20
	bootSize  = 64 << 20
	rootStart = bootStart + bootSize
	rootSize  = 256 << 20
	diskSize  = rootStart + rootSize
)

// disk is a machine's, attached: /boot and the volume of the roots are devices of it. So both are
// cut off at the same instant.
type disk struct {
	loop       *loopback.Loop
	boot, root string // devices
}

// attach gives a disk in a file its devices.
func attach(image string) (*disk, error) {
	loop, err := loopback.Attach(image)
	if err != nil {
		return nil, err
	}
	d := &disk{loop: loop}
	if d.boot, err = loop.AddPartition(1, bootStart, bootSize); err == nil {
		d.root, err = loop.AddPartition(2, rootStart, rootSize)
	}
	if err != nil {
		return nil, errors.Join(err, loop.Detach())
	}
	return d, nil
}

func (d *disk) detach() error { return d.loop.Detach() }

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
		if err := loopback.Format(ctx, d.boot, loopback.Ext4, "-L", "boot", "-O", "^64bit,^metadata_csum,^metadata_csum_seed,^orphan_file"); err != nil {
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
