package extfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// ioctl numbers that golang.org/x/sys/unix lacks, from the kernel's
// include/uapi/linux/fs.h and ext4.h. Where an architecture encodes directions
// otherwise (MIPS, PowerPC), the kernel does not know ioctlCheckpoint, and a
// freeze takes its part.
const (
	ioctlFreeze     = 0xc0045877 // FIFREEZE, _IOWR('X', 119, int)
	ioctlThaw       = 0xc0045878 // FITHAW, _IOWR('X', 120, int)
	ioctlCheckpoint = 0x4004662b // EXT4_IOC_CHECKPOINT, _IOW('f', 43, __u32)
)

// Settle brings everything written so far to the places where a boot loader reads
// it. fsync is not enough for that: after it, names and inodes may be in the
// journal only, which the kernel replays after a crash and a boot loader does not.
//
// Since Linux 5.14 ext4 empties its journal when asked to. Before, and for a
// filesystem driver that does not know the request, freezing the filesystem for a
// moment does the same; then nobody can write to it until it is thawed, so this
// is the second choice.
func (v *Volume) Settle() error {
	if err := unix.Syncfs(int(v.dir.Fd())); err != nil {
		return fmt.Errorf("cannot flush %s: %w", v.Directory, err)
	}
	switch err := v.checkpoint(); {
	case err == nil, errors.Is(err, unix.ENODEV): // ENODEV: it has no journal
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		if err := v.freezeAndThaw(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("cannot empty the journal of %s: %w", v.Directory, err)
	}
	// Without a journal the blocks may still be in the drive's cache; flushing
	// the block device empties that.
	if err := v.device.Sync(); err != nil {
		return fmt.Errorf("cannot flush %s: %w", v.device.Name(), err)
	}
	return nil
}

func (v *Volume) checkpoint() error {
	if v.forceFreeze {
		return unix.ENOTTY
	}
	// The argument holds flags: none.
	return unix.IoctlSetPointerInt(int(v.dir.Fd()), ioctlCheckpoint, 0)
}

// freezeAndThaw empties the journal by freezing the filesystem. A freeze outlives
// the process that made it. So a marker says that it was this plugin's, for as
// long as it lasts, and the next Open thaws what a killed process left frozen.
func (v *Volume) freezeAndThaw() error {
	marker, err := createMarker(v.markerPath())
	if err != nil {
		return err
	}
	defer marker.remove()
	fd := int(v.dir.Fd())
	// Between the two calls nothing may happen that could wait for the frozen
	// filesystem, nor may this thread be taken away for long.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	freezeErr := unix.IoctlSetInt(fd, ioctlFreeze, 0)
	if freezeErr != nil {
		return fmt.Errorf("cannot freeze %s: %w", v.Directory, freezeErr)
	}
	if err := thaw(fd); err != nil {
		return fmt.Errorf("cannot thaw %s, which stays frozen: %w", v.Directory, err)
	}
	return nil
}

func thaw(fd int) error {
	for {
		err := unix.IoctlSetInt(fd, ioctlThaw, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err
	}
}

// thawLeftover undoes the freeze of a process that was killed in the middle of
// freezeAndThaw. A marker that is locked belongs to a living one.
func (v *Volume) thawLeftover() error {
	file, err := os.OpenFile(v.markerPath(), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the freeze marker: %w", err)
	}
	marker := marker{file}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil
	}
	defer marker.remove()
	if err := thaw(int(v.dir.Fd())); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: it is not frozen
		return fmt.Errorf("cannot thaw %s: %w", v.Directory, err)
	}
	return nil
}

// marker is a locked file on a volatile filesystem: a restart takes it away
// together with the freeze.
type marker struct{ file *os.File }

func (v *Volume) markerPath() string {
	return filepath.Join(v.markers, fmt.Sprintf("frozen-%d-%d", unix.Major(v.number), unix.Minor(v.number)))
}

func createMarker(path string) (marker, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return marker{}, fmt.Errorf("cannot create the freeze marker: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return marker{}, fmt.Errorf("cannot create the freeze marker: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		file.Close()
		return marker{}, fmt.Errorf("cannot lock the freeze marker: %w", err)
	}
	return marker{file}, nil
}

func (m marker) remove() {
	_ = os.Remove(m.file.Name())
	m.file.Close()
}
