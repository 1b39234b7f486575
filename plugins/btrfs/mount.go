package main

import (
	"errors"
	"fmt"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/privatemount"
)

// mountTopLevel mounts the subvolume that holds all others.
func mountTopLevel(device, runDirectory string) (*privatemount.Mount, error) {
	m, err := privatemount.New(device, runDirectory, "btrfs", "subvolid=5")
	if err != nil {
		return nil, mountError(device, err)
	}
	return m, nil
}

// mountError says what mount(2) may mean by its error.
func mountError(device string, err error) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return because(sdk.CodeUnsupported, "this kernel has no btrfs: %w", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EUCLEAN):
		return because(sdk.CodeUnsupported, "%s cannot be mounted as btrfs; the kernel's log says why: %w", device, err)
	case errors.Is(err, unix.ENOENT):
		return because(sdk.CodeNotFound, "%s cannot be mounted, a device of the filesystem may be missing: %w", device, err)
	}
	return fmt.Errorf("cannot mount %s: %w", device, err)
}

// mountsOf lists the mounts of a filesystem in this process's namespace, without
// the private ones, by the path within the filesystem that is mounted.
func (v *volume) mountsOf() ([]*mountinfo.Info, error) {
	var all []*mountinfo.Info
	all, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("btrfs"))
	if err != nil {
		return nil, err
	}
	var own *mountinfo.Info
	for _, m := range all {
		if m.Mountpoint == v.mount.Directory {
			own = m
		}
	}
	if own == nil {
		return nil, fmt.Errorf("%s is not mounted any more", v.mount.Directory)
	}
	var mounts []*mountinfo.Info
	for _, m := range all {
		if m.Major == own.Major && m.Minor == own.Minor && !privatemount.Is(m.Mountpoint) {
			mounts = append(mounts, m)
		}
	}
	return mounts, nil
}
