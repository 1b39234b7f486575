package main

import (
	"errors"
	"fmt"
	"slices"

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

// mounts lists the mounts of the filesystem in this process's namespace, its own
// private one included.
func (v *volume) mounts() ([]*mountinfo.Info, error) {
	all, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("btrfs"))
	if err != nil {
		return nil, err
	}
	own := slices.IndexFunc(all, func(m *mountinfo.Info) bool { return m.Mountpoint == v.mount.Directory })
	if own < 0 {
		return nil, fmt.Errorf("%s is not mounted any more", v.mount.Directory)
	}
	// All mounts of a filesystem have the same device number here, unlike files,
	// whose st_dev is their subvolume's.
	major, minor := all[own].Major, all[own].Minor
	return slices.DeleteFunc(all, func(m *mountinfo.Info) bool { return m.Major != major || m.Minor != minor }), nil
}
