package rootfs

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// resolve is how a name is looked up: within the directory that is given, through
// no symbolic link and no link of /proc, and on the same mount.
const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// Permission bits of a mode, without the file type.
const permissions = 0o7777

// entry is a handle on something in the tree that opens nothing (O_PATH): taking one
// of a FIFO or a device has no effect on either.
type entry struct {
	handle int
	stat   unix.Stat_t
}

// openEntry gives an entry for name in dir. Where a symbolic link stands there, it is
// that link.
func openEntry(dir int, name string) (*entry, error) {
	handle, err := openBeneath(dir, name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return nil, explain(dir, name, err)
	}
	e, err := entryOf(handle)
	if err != nil {
		unix.Close(handle)
	}
	return e, err
}

// entryOf gives an entry for a handle, which closing it closes.
func entryOf(handle int) (*entry, error) {
	e := &entry{handle: handle}
	if err := unix.Fstat(handle, &e.stat); err != nil {
		return nil, err
	}
	return e, nil
}

// openEntryOf is openEntry for one that must be of type want (unix.S_IFREG,
// unix.S_IFDIR).
func openEntryOf(dir int, name string, want uint32) (*entry, error) {
	e, err := openEntry(dir, name)
	if err != nil {
		return nil, err
	}
	if err := e.expect(want); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *entry) close() { unix.Close(e.handle) }

func (e *entry) fileType() uint32 { return uint32(e.stat.Mode) & unix.S_IFMT }

func (e *entry) expect(want uint32) error {
	switch e.fileType() {
	case want:
		return nil
	case unix.S_IFLNK:
		return errSymlink
	}
	return fmt.Errorf("%w: there is %s, not %s", ErrOriginMismatch, typeName(e.fileType()), typeName(want))
}

// path gives a path that leads to exactly this entry, for calls that take no handle
// of this kind.
func (e *entry) path() string { return "/proc/self/fd/" + strconv.Itoa(e.handle) }

func (e *entry) setOwner(uid, gid uint32) error {
	return unix.Fchownat(e.handle, "", int(uid), int(gid), unix.AT_EMPTY_PATH)
}

// setMode must not be used on a symbolic link, which has none.
func (e *entry) setMode(mode uint32) error {
	return unix.Chmod(e.path(), mode&permissions)
}

func (e *entry) setTime(mtime uint64) error {
	times, err := timesOf(mtime)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, e.path(), times, 0)
}

// setHandleTime sets the modification time of an open file or directory.
func setHandleTime(handle int, mtime uint64) error {
	e := entry{handle: handle}
	return e.setTime(mtime)
}

// timesOf gives the times argument that sets a modification time in seconds and
// leaves the access time alone. Seconds are signed, as in the stream's time_t.
func timesOf(mtime uint64) ([]unix.Timespec, error) {
	modified, err := unix.TimeToTimespec(time.Unix(int64(mtime), 0))
	if err != nil {
		return nil, fmt.Errorf("time %d is beyond this machine's: %w", int64(mtime), err)
	}
	return []unix.Timespec{{Nsec: unix.UTIME_OMIT}, modified}, nil
}

// openBeneath opens one name in dir as resolve says.
func openBeneath(dir int, name string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	for {
		handle, err := unix.Openat2(dir, name, &how)
		// EAGAIN: something was renamed meanwhile (openat2(2)).
		if err != unix.EINTR && err != unix.EAGAIN {
			return handle, err
		}
	}
}

func openRetrying(path string, flags int) (int, error) {
	for {
		handle, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return handle, err
		}
	}
}

// checkProc makes sure that /proc/self/fd leads where entry.path relies on.
func checkProc(handle int) error {
	var want, got unix.Stat_t
	if err := unix.Fstat(handle, &want); err != nil {
		return err
	}
	e := entry{handle: handle}
	if err := unix.Stat(e.path(), &got); err != nil {
		return fmt.Errorf("/proc is not mounted: %w", err)
	}
	if identityOf(&want) != identityOf(&got) {
		return errors.New("/proc/self/fd is not this process's")
	}
	return nil
}

// errSymlink is for a symbolic link where the stream expects something else. A
// stream can make one itself and then go through it, so it is an attempt to escape
// until the contrary is known.
var errSymlink = fmt.Errorf("%w: there is a symbolic link, and none is followed", tbdiff.ErrUnsafe)

// explain gives a failed call on name in dir the sense that it has for the caller.
func explain(dir int, name string, err error) error {
	switch {
	case errors.Is(err, unix.ELOOP):
		return errSymlink
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: something is mounted there: %w", tbdiff.ErrUnsafe, err)
	case errors.Is(err, unix.ENOTDIR) && isSymlink(dir, name):
		return errSymlink
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: %w", ErrOriginMismatch, err)
	case errors.Is(err, unix.EPERM):
		return explainPermission(dir, name, err)
	}
	return err
}

func isSymlink(dir int, name string) bool {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

// explainPermission names the attributes that stop even root.
func explainPermission(dir int, name string, err error) error {
	const attributes = unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND
	for _, place := range []struct{ name, what string }{{name, "it"}, {"", "its directory"}} {
		var st unix.Statx_t
		failed := unix.Statx(dir, place.name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, 0, &st)
		if failed == nil && st.Attributes&attributes != 0 {
			return fmt.Errorf("%s is marked immutable or append-only (see chattr): %w", place.what, err)
		}
	}
	return err
}

func typeName(fileType uint32) string {
	switch fileType {
	case unix.S_IFREG:
		return "a plain file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFBLK:
		return "a block device"
	case unix.S_IFCHR:
		return "a character device"
	}
	return fmt.Sprintf("a file of type %#o", fileType)
}
