package extfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk/blockdevice"
	"github.com/trebuchet-update/tbupdate/sdk/privatemount"
)

// Errors of Open. Others are those of the operating system.
var (
	ErrNotFound  = errors.New("not found")
	ErrAmbiguous = errors.New("more than one filesystem answers to that")
)

// markerDirectory is where a freeze is noted. It must be the same for every
// process, and be gone after a restart, as a freeze is.
const markerDirectory = "/run/tbupdate-extfs"

// Volume is an ext filesystem that this process works on.
type Volume struct {
	Directory  string // where it is mounted
	Superblock Superblock

	dir     *os.File
	device  *os.File            // the block device
	number  uint64              // of the device
	mounted *privatemount.Mount // nil where the operator mounted it
	markers string

	forceFreeze bool // act as on a kernel without the checkpoint request
}

// OpenMount opens the filesystem that is mounted at a directory.
//
// Errors: ErrNotFound when nothing is mounted there, ErrNotExt with what is.
func OpenMount(directory string) (*Volume, error) {
	info, err := mountAt(directory)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(info.FSType, "ext") {
		return nil, fmt.Errorf("%w: %s is %s", ErrNotExt, directory, info.FSType)
	}
	if info.Root != "/" {
		return nil, fmt.Errorf("%w: %s is only the directory %s of the filesystem, and a boot loader begins at its top", ErrNotFound, directory, info.Root)
	}
	return open(directory)
}

// OpenDevice mounts the filesystem that a specification names (see FindDevice) below
// an own directory, from which Close takes it away. What a killed process left
// mounted there is unmounted first. A filesystem that can only be mounted read-only
// is.
//
// Errors: ErrNotFound, ErrAmbiguous, ErrNotExt.
func OpenDevice(specification, runDirectory string) (*Volume, error) {
	device, err := FindDevice(specification)
	if err != nil {
		return nil, err
	}
	superblock, err := blockdevice.Probe(device, parseSuperblockOf)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", device, err)
	}
	if err := privatemount.ClearStale(runDirectory); err != nil {
		return nil, err
	}
	mounted, err := privatemount.New(device, runDirectory, superblock.Kind, "")
	if err != nil {
		return nil, fmt.Errorf("cannot mount %s as %s: %w", device, superblock.Kind, err)
	}
	v, err := open(mounted.Directory)
	if err != nil {
		return nil, errors.Join(err, mounted.Unmount())
	}
	v.mounted = mounted
	return v, nil
}

func open(directory string) (*Volume, error) {
	dir, err := os.Open(directory)
	if err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &stat); err != nil {
		dir.Close()
		return nil, err
	}
	v := &Volume{Directory: directory, dir: dir, number: stat.Dev, markers: markerDirectory}
	if err := v.openDevice(); err != nil {
		dir.Close()
		return nil, err
	}
	if err := v.thawLeftover(); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// openDevice opens the block device by its number, since the path in the mount
// table may be another mount namespace's.
func (v *Volume) openDevice() error {
	path, err := blockdevice.ByNumber(v.number)
	if err != nil {
		return err
	}
	if v.device, err = os.Open(path); err != nil {
		return err
	}
	if v.Superblock, err = parseSuperblockOf(v.device); err != nil {
		v.device.Close()
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Close releases the volume and unmounts it where OpenDevice mounted it.
func (v *Volume) Close() error {
	v.device.Close()
	v.dir.Close()
	if v.mounted == nil {
		return nil
	}
	return v.mounted.Unmount()
}

// Path joins names to the volume's directory.
func (v *Volume) Path(names ...string) string {
	return filepath.Join(append([]string{v.Directory}, names...)...)
}

// DevicePath gives the path of the block device.
func (v *Volume) DevicePath() string { return v.device.Name() }

// Space is the room of a filesystem.
type Space struct {
	BlockSize  uint64
	TotalBytes uint64
	FreeBytes  uint64 // without what is reserved for root
	FreeInodes uint64
}

// Space gives the room that there is now.
func (v *Volume) Space() (Space, error) {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(v.dir.Fd()), &stat); err != nil {
		return Space{}, fmt.Errorf("cannot measure the room of %s: %w", v.Directory, err)
	}
	size := uint64(stat.Bsize)
	return Space{BlockSize: size, TotalBytes: stat.Blocks * size, FreeBytes: stat.Bavail * size, FreeInodes: stat.Ffree}, nil
}

// ReadOnly reports whether nothing can be written.
func (v *Volume) ReadOnly() (bool, error) {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(v.dir.Fd()), &stat); err != nil {
		return false, err
	}
	return stat.Flags&unix.ST_RDONLY != 0, nil
}

// JournalsData reports whether file data goes through the journal, so that even
// what is overwritten in place is not where a boot loader looks for it, and what
// the loader writes is undone when the journal is replayed.
func (v *Volume) JournalsData() (bool, error) {
	mounts, err := mountinfo.GetMounts(func(info *mountinfo.Info) (skip, stop bool) {
		return unix.Mkdev(uint32(info.Major), uint32(info.Minor)) != v.number, false
	})
	if err != nil {
		return false, fmt.Errorf("cannot read the mount table: %w", err)
	}
	for _, info := range mounts {
		for option := range strings.SplitSeq(info.VFSOptions, ",") {
			if mode, ok := strings.CutPrefix(option, "data="); ok {
				return mode == "journal", nil
			}
		}
	}
	return v.Superblock.JournalsData, nil
}

// mountAt gives the mount whose top is directory.
func mountAt(directory string) (*mountinfo.Info, error) {
	resolved, err := filepath.EvalSymlinks(directory)
	if err != nil {
		return nil, err
	}
	if resolved, err = filepath.Abs(resolved); err != nil {
		return nil, err
	}
	mounts, err := mountinfo.GetMounts(func(info *mountinfo.Info) (skip, stop bool) {
		return info.Mountpoint != resolved, false
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	if len(mounts) == 0 {
		return nil, fmt.Errorf("%w: no filesystem is mounted at %s", ErrNotFound, directory)
	}
	return mounts[len(mounts)-1], nil // which covers the others
}
