package loopback

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Filesystem is one that Format knows.
type Filesystem string

// The filesystems that tests of backends need.
const (
	Btrfs Filesystem = "btrfs"
	Ext2  Filesystem = "ext2"
	Ext3  Filesystem = "ext3"
	Ext4  Filesystem = "ext4"
)

// CreateImage makes a sparse file of this size in bytes.
func CreateImage(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cannot create image: %w", err)
	}
	err = file.Truncate(size)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("cannot create image %s: %w", path, err)
	}
	return nil
}

// Format makes an empty filesystem on a device or image file. The arguments are
// added to the mkfs program's own.
func Format(ctx context.Context, path string, filesystem Filesystem, arguments ...string) error {
	program, pack, quiet := "mke2fs", "e2fsprogs", []string{"-q", "-F", "-t", string(filesystem)}
	switch filesystem {
	case Btrfs:
		program, pack, quiet = "mkfs.btrfs", "btrfs-progs", []string{"-q", "-f"}
	case Ext2, Ext3, Ext4:
	default:
		return fmt.Errorf("cannot format %s: unknown filesystem %q", path, filesystem)
	}
	program, err := findProgram(program)
	if err != nil {
		return fmt.Errorf("cannot format %s: %w; install it with: apt-get install %s", path, err, pack)
	}
	arguments = append(append(quiet, arguments...), path)
	for try := 1; ; try++ {
		command := exec.CommandContext(ctx, program, arguments...)
		command.Env = append(os.Environ(), "LC_ALL=C")
		output, err := command.CombinedOutput()
		if err == nil {
			return nil
		}
		// mkfs.btrfs opens every loop device that is mounted anywhere, to see whether
		// this image is behind it, and gives up when one of them is released meanwhile.
		if passing := strings.Contains(string(output), "cannot check mount status"); !passing || try == busyTries {
			return fmt.Errorf("cannot format %s: %s: %w: %s", path, program, err, strings.TrimSpace(string(output)))
		}
		time.Sleep(busyPause)
	}
}

// findProgram looks in PATH and then where administrators' programs are, which
// the PATH of a plain user's shell does not name.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, directory := range []string{"/usr/sbin/", "/sbin/"} {
		if path, sbinErr := exec.LookPath(directory + name); sbinErr == nil {
			return path, nil
		}
	}
	return "", err
}

// mountFlags are the mount options that are flags of mount(2); all others go to
// the filesystem.
var mountFlags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "rw": 0, "noatime": unix.MS_NOATIME, "nodev": unix.MS_NODEV,
	"nosuid": unix.MS_NOSUID, "noexec": unix.MS_NOEXEC, "sync": unix.MS_SYNCHRONOUS,
}

// Mount mounts a filesystem. Each option is one as for mount(8) -o, such as "ro"
// or "subvolid=5".
func Mount(device, directory string, filesystem Filesystem, options ...string) error {
	var flags uintptr
	var data []string
	for _, option := range options {
		if flag, ok := mountFlags[option]; ok {
			flags |= flag
			continue
		}
		data = append(data, option)
	}
	if err := unix.Mount(device, directory, string(filesystem), flags, strings.Join(data, ",")); err != nil {
		return fmt.Errorf("cannot mount %s on %s as %s: %w", device, directory, filesystem, err)
	}
	return nil
}

// Mounted runs act while a filesystem is mounted, on a directory that is made for it.
func Mounted(device string, filesystem Filesystem, act func(directory string) error, options ...string) error {
	directory, err := os.MkdirTemp("", "mounted-")
	if err != nil {
		return err
	}
	if err := Mount(device, directory, filesystem, options...); err != nil {
		return errors.Join(err, os.Remove(directory))
	}
	return errors.Join(act(directory), Unmount(directory), os.Remove(directory))
}

// How long is waited for what passes: a mount that is busy, a loop device that goes.
const (
	busyTries = 100
	busyPause = 10 * time.Millisecond
)

// Unmount undoes Mount. A mount that is busy is detached, so that nothing keeps
// the machine from letting go of it later, and reported as an error. Busy for a
// moment is not busy: a program that is just being started holds its parent's
// files until it executes.
func Unmount(directory string) error {
	err := unix.Unmount(directory, unix.UMOUNT_NOFOLLOW)
	for try := 0; errors.Is(err, unix.EBUSY) && try < busyTries; try++ {
		time.Sleep(busyPause)
		err = unix.Unmount(directory, unix.UMOUNT_NOFOLLOW)
	}
	if err == nil {
		return nil
	}
	if detachErr := unix.Unmount(directory, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); detachErr != nil {
		return fmt.Errorf("cannot unmount %s: %w", directory, err)
	}
	return fmt.Errorf("cannot unmount %s: %w (detached, it goes with its last user)", directory, err)
}
