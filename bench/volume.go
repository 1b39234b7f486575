package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// volumeBytes is room for the trees and for all that the ways make of them. The image
// takes what is used of it.
const volumeBytes = 24 << 30

// volume is a btrfs filesystem on a loop device that holds the old tree in the
// subvolume "origin". Each run works on a fresh subvolume, "target".
type volume struct {
	directory string // where it is mounted, absolute
	loop      *loopback.Loop
}

// newVolume makes the filesystem, mounts it on the new directory and copies the
// old tree into it.
func newVolume(ctx context.Context, directory, oldTree string) (*volume, error) {
	absolute, err := filepath.Abs(directory)
	if err != nil {
		return nil, fmt.Errorf("cannot make volume: %w", err)
	}
	v := &volume{directory: absolute}
	if err := v.build(ctx, oldTree); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make volume: %w", err), v.Close())
	}
	return v, nil
}

func (v *volume) build(ctx context.Context, oldTree string) error {
	image := v.directory + ".img"
	if err := loopback.CreateImage(image, volumeBytes); err != nil {
		return err
	}
	if err := loopback.Format(ctx, image, loopback.Btrfs); err != nil {
		return err
	}
	loop, err := loopback.Attach(image)
	if err != nil {
		return err
	}
	v.loop = loop
	if err := os.Mkdir(v.directory, 0o700); err != nil {
		return err
	}
	// To read the old tree is not to change it.
	if err := loopback.Mount(loop.Path, v.directory, loopback.Btrfs, "noatime"); err != nil {
		return err
	}
	if err := v.btrfs(ctx, "subvolume", "create", v.origin()); err != nil {
		return err
	}
	if err := command(ctx, "cp", "-a", oldTree+"/.", v.origin()); err != nil {
		return err
	}
	return v.flush()
}

// Close unmounts the filesystem and releases its device.
func (v *volume) Close() error {
	if v.loop == nil {
		return nil
	}
	err := loopback.Unmount(v.directory)
	return errors.Join(err, v.loop.Detach())
}

func (v *volume) origin() string { return filepath.Join(v.directory, "origin") }
func (v *volume) target() string { return filepath.Join(v.directory, "target") }

// freshSnapshot makes target a writable snapshot of origin.
func (v *volume) freshSnapshot(ctx context.Context) error {
	if err := v.removeTarget(ctx); err != nil {
		return err
	}
	if err := v.btrfs(ctx, "subvolume", "snapshot", v.origin(), v.target()); err != nil {
		return err
	}
	return v.flush()
}

// freshDirectory makes target an empty subvolume.
func (v *volume) freshDirectory(ctx context.Context) error {
	if err := v.removeTarget(ctx); err != nil {
		return err
	}
	if err := v.btrfs(ctx, "subvolume", "create", v.target()); err != nil {
		return err
	}
	return v.flush()
}

// removeTarget also waits until the kernel has given the room back, so that it does not
// work at that during the measurement.
func (v *volume) removeTarget(ctx context.Context) error {
	if _, err := os.Lstat(v.target()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := v.btrfs(ctx, "subvolume", "delete", v.target()); err != nil {
		return err
	}
	return v.settle(ctx)
}

// settle waits until the kernel has given the room of what was deleted back.
func (v *volume) settle(ctx context.Context) error {
	// The cleaner is woken by the thread that commits transactions, which the
	// ioctl behind "filesystem sync" wakes; by itself it would wait for 30 s.
	if err := v.btrfs(ctx, "filesystem", "sync", v.directory); err != nil {
		return err
	}
	return v.btrfs(ctx, "subvolume", "sync", "-s", "1", v.directory)
}

// flush makes durable all that was written to the volume.
func (v *volume) flush() error {
	directory, err := os.Open(v.directory)
	if err != nil {
		return fmt.Errorf("cannot flush the volume: %w", err)
	}
	defer directory.Close()
	if err := unix.Syncfs(int(directory.Fd())); err != nil {
		return fmt.Errorf("cannot flush the volume: %w", err)
	}
	return nil
}

func (v *volume) btrfs(ctx context.Context, arguments ...string) error {
	return command(ctx, "btrfs", arguments...)
}

// command runs a program and puts what it says into the error.
func command(ctx context.Context, program string, arguments ...string) error {
	c := exec.CommandContext(ctx, program, arguments...)
	c.Env = append(os.Environ(), "LC_ALL=C")
	if output, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot run %s: %w: %s", strings.Join(c.Args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
