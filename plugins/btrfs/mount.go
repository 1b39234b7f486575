package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// privateMount is the filesystem's top level, mounted for this process.
type privateMount struct {
	directory string
	readOnly  bool
}

// mountPrefix begins the name of every mount point of this plugin; a process's
// mark follows.
const mountPrefix = "btrfs-"

// mountTopLevel mounts the subvolume that holds all others. It asks for a
// writable mount also where root is mounted read-only: the other mount stays
// read-only then. Only a filesystem that cannot be written at all is mounted
// read-only, so that it can still be looked at.
func mountTopLevel(device, runDirectory string) (*privateMount, error) {
	mark, err := processMark("self")
	if err != nil {
		return nil, err
	}
	directory, err := os.MkdirTemp(runDirectory, mountPrefix+mark+"-")
	if err != nil {
		return nil, err
	}
	m := &privateMount{directory: directory}
	const flags = unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	err = unix.Mount(device, directory, "btrfs", flags, "subvolid=5")
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) {
		m.readOnly = true
		err = unix.Mount(device, directory, "btrfs", flags|unix.MS_RDONLY, "subvolid=5")
	}
	if err != nil {
		os.Remove(directory)
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

// unmount undoes mountTopLevel. A mount that somebody still uses is detached, to
// go with its last user: the plugin's process is about to end, and nobody else
// would do it.
func (m *privateMount) unmount() error {
	return unmountAndRemove(m.directory)
}

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

// clearStale unmounts what killed predecessors left below the run directory.
func clearStale(runDirectory string) error {
	entries, err := os.ReadDir(runDirectory)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		rest, ours := strings.CutPrefix(entry.Name(), mountPrefix)
		pid, start, ok := strings.Cut(rest, "-")
		start, _, _ = strings.Cut(start, "-")
		if !ours || !ok || !entry.IsDir() {
			continue
		}
		if mark, err := processMark(pid); err == nil && mark == pid+"-"+start {
			continue // it lives
		}
		if err := unmountAndRemove(filepath.Join(runDirectory, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// processMark tells a process from every other of this boot: its id, which is
// used again, and its start time (field 22 of /proc/PID/stat, proc(5)).
func processMark(pid string) (string, error) {
	if _, err := strconv.Atoi(pid); err != nil && pid != "self" {
		return "", err
	}
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return "", err
	}
	// The program's name, in parentheses, may hold anything; fields are counted
	// from behind it, where field 3 is the first.
	text := string(data)
	id, _, _ := strings.Cut(text, " ")
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const startTime = 22 - 3
	if len(fields) <= startTime {
		return "", fmt.Errorf("cannot parse /proc/%s/stat", pid)
	}
	return id + "-" + fields[startTime], nil
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
		if m.Mountpoint == v.mount.directory {
			own = m
		}
	}
	if own == nil {
		return nil, fmt.Errorf("%s is not mounted any more", v.mount.directory)
	}
	var mounts []*mountinfo.Info
	for _, m := range all {
		if m.Major == own.Major && m.Minor == own.Minor && !strings.HasPrefix(filepath.Base(m.Mountpoint), mountPrefix) {
			mounts = append(mounts, m)
		}
	}
	return mounts, nil
}
