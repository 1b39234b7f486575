package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/trebuchet-update/tbupdate/lab/command"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// The parts of a machine's disk, in bytes. Before and behind them is room for the partition table.
const (
	bootStart      = 1 << 20
	bootSize       = 64 << 20
	rootStart      = bootStart + bootSize
	rootSize       = 256 << 20
	stateStart     = rootStart + rootSize
	stateSize      = 4 << 20
	variablesStart = stateStart + stateSize
	variablesSize  = 4 << 20
	diskSize       = variablesStart + variablesSize + 1<<20
)

// disk is a machine's, attached: /boot and the volume of the roots are devices of it. So both are
// cut off at the same instant.
type disk struct {
	loop       *loopback.Loop
	boot, root string // devices
	state      string // device for what a boot loader has elsewhere than in /boot
	variables  string // device for what firmware has elsewhere than on a disk
	// mounts is where those are mounted that mount was told.
	mounts map[string]string
}

// statePartition is the number of the partition for the state.
const statePartition = 3

// attach gives a disk in a file its devices.
func attach(image string) (*disk, error) {
	loop, err := loopback.Attach(image)
	if err != nil {
		return nil, err
	}
	d := &disk{loop: loop, mounts: map[string]string{}}
	for i, part := range []struct {
		device      *string
		start, size int64
	}{{&d.boot, bootStart, bootSize}, {&d.root, rootStart, rootSize}, {&d.state, stateStart, stateSize}, {&d.variables, variablesStart, variablesSize}} {
		if *part.device, err = loop.AddPartition(i+1, part.start, part.size); err != nil {
			return nil, errors.Join(err, loop.Detach())
		}
	}
	return d, nil
}

func (d *disk) detach() error { return errors.Join(d.unmount(), d.loop.Detach()) }

// mount mounts a device of the disk that has an ext filesystem without a journal, as a machine does that comes up: what was not unmounted is
// repaired before. Once it is mounted there is nothing to do.
func (d *disk) mount(ctx context.Context, device string, options ...string) error {
	if d.mounts[device] != "" {
		return nil
	}
	if err := repair(ctx, device); err != nil {
		return err
	}
	top, err := os.MkdirTemp("", "lab-crash-")
	if err != nil {
		return err
	}
	if err := loopback.Mount(device, top, loopback.Ext4, options...); err != nil {
		return errors.Join(err, os.Remove(top))
	}
	d.mounts[device] = top
	return nil
}

// unmount undoes mount, of all devices.
func (d *disk) unmount() (err error) {
	for device, top := range d.mounts {
		delete(d.mounts, device)
		err = errors.Join(err, loopback.Unmount(top), os.Remove(top))
	}
	return err
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

// diskTable is the partition table, which only boot loaders and their plugins read here: an extended boot loader
// partition, from which U-Boot would boot, and an EFI system partition.
var diskTable = fmt.Sprintf(`label: gpt
unit: sectors
start=%d, size=%d, type=bc13c2ff-59e6-4262-a352-b275fd6f7172, attrs=LegacyBIOSBootable
start=%d, size=%d, type=linux
start=%d, size=%d, type=uefi
start=%d, size=%d, type=linux
`, bootStart/sector, bootSize/sector, rootStart/sector, rootSize/sector, stateStart/sector, stateSize/sector, variablesStart/sector, variablesSize/sector)

func writeTable(ctx context.Context, image string) error {
	sfdisk := exec.CommandContext(ctx, "/usr/sbin/sfdisk", "-q", image)
	sfdisk.Stdin = strings.NewReader(diskTable)
	if output, err := sfdisk.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot write a partition table: %w: %s", err, output)
	}
	return nil
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

// newDisk makes a machine's disk with a system on it, the way an installer does: in a subvolume, with
// the boot loader in /boot.
func newDisk(ctx context.Context, image string, l loader, s *system) error {
	if err := loopback.CreateImage(image, diskSize); err != nil {
		return err
	}
	if err := writeTable(ctx, image); err != nil {
		return err
	}
	return attached(image, func(d *disk) error {
		if err := loopback.Format(ctx, d.boot, loopback.Ext4, "-L", "boot", "-O", bootFeatures(l)); err != nil {
			return err
		}
		if err := loopback.Format(ctx, d.root, loopback.Btrfs, "-L", "root"); err != nil {
			return err
		}
		if err := loopback.Mounted(d.root, loopback.Btrfs, func(top string) error { return install(ctx, top, s) }); err != nil {
			return err
		}
		return loopback.Mounted(d.boot, loopback.Ext4, func(top string) error { return l.install(ctx, d, top, s) })
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
