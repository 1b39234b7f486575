// Package privatemount mounts a filesystem for one plugin process, in a place of
// its own, and clears up after processes that were killed before they could
// unmount.
//
// Several processes of a plugin may run at a time (an update and somebody who asks
// for the status) and share the run directory, so every mount point's name tells
// which process it belongs to.
package privatemount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk/process"
)

// Mount is a filesystem that this process mounted.
type Mount struct {
	// Directory is where, as the table of mounts has it: without symbolic links.
	Directory string
	// ReadOnly is true when the filesystem could not be mounted writable.
	ReadOnly bool
}

// prefix begins the name of every mount point; a process's mark follows.
const prefix = "private-mount-"

// New mounts the device in a new directory below runDirectory, whose symbolic links
// it resolves. It asks for a
// writable mount also where the filesystem is mounted read-only elsewhere; only one
// that cannot be written at all is mounted read-only, so that it can still be
// looked at. data are the filesystem's own options, as for mount(2).
//
// Errors are those of mount(2), unchanged.
func New(device, runDirectory, filesystem, data string) (*Mount, error) {
	mark, err := process.Own()
	if err != nil {
		return nil, err
	}
	resolved, err := filepath.EvalSymlinks(runDirectory) // /var/run often is one
	if err != nil {
		return nil, err
	}
	directory, err := os.MkdirTemp(resolved, prefix+string(mark)+"-")
	if err != nil {
		return nil, err
	}
	m := &Mount{Directory: directory}
	// Not MS_NOEXEC: a new root is reached through such a mount, and what installs
	// its kernel may be a program of its own, run in a chroot there.
	const flags = unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOSUID
	err = unix.Mount(device, directory, filesystem, flags, data)
	// EACCES: the device is read-only. EBUSY: an ext filesystem is mounted
	// read-only elsewhere, and all its mounts share that.
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EBUSY) {
		m.ReadOnly = true
		err = unix.Mount(device, directory, filesystem, flags|unix.MS_RDONLY, data)
	}
	if err != nil {
		os.Remove(directory)
		return nil, err
	}
	return m, nil
}

// Unmount undoes New. A mount that somebody still uses is detached, to go with its
// last user: the plugin's process is about to end, and nobody else would do it.
func (m *Mount) Unmount() error { return unmountAndRemove(m.Directory) }

func unmountAndRemove(directory string) error {
	err := unix.Unmount(directory, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(directory, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: nothing is mounted there
		return fmt.Errorf("cannot unmount %s: %w", directory, err)
	}
	// Never RemoveAll: if it were still mounted, that would delete the system.
	if err := os.Remove(directory); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ClearStale unmounts what killed processes left below the run directory. Call it
// before New.
func ClearStale(runDirectory string) error {
	entries, err := os.ReadDir(runDirectory)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		rest, ours := strings.CutPrefix(entry.Name(), prefix)
		mark := rest[:max(strings.LastIndexByte(rest, '-'), 0)]
		if !ours || mark == "" || !entry.IsDir() || process.Mark(mark).Exists() {
			continue
		}
		if err := unmountAndRemove(filepath.Join(runDirectory, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
