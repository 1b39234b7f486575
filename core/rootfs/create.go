package rootfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// Modes that things are made with, so that nobody gets at them before they have
// their owner.
const (
	privateFile      = 0o600
	privateDirectory = 0o700
)

func (d *deployment) createDirectory(c tbdiff.DirCreate) error {
	if err := unix.Mkdirat(d.trail.here(), c.Name, privateDirectory); err != nil {
		return fmt.Errorf("cannot create directory: %w", explain(d.trail.here(), c.Name, err))
	}
	return d.finishNew(c.Name, unix.S_IFDIR, metadata{c.UID, c.GID, c.Mode, c.Mtime})
}

func (d *deployment) createSymlink(c tbdiff.SymlinkCreate) error {
	dir := d.trail.here()
	if err := unix.Symlinkat(c.Target, dir, c.Name); err != nil {
		return fmt.Errorf("cannot create symbolic link: %w", explain(dir, c.Name, err))
	}
	if err := unix.Fchownat(dir, c.Name, int(c.UID), int(c.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot set the owner of symbolic link: %w", err)
	}
	return setNameTime(dir, c.Name, c.Mtime)
}

// createSpecial makes a device node or a FIFO. It makes nothing for a socket: a
// socket in a tree at rest serves nobody, and the format has none; the C tool writes
// such a command by mistake.
func (d *deployment) createSpecial(c tbdiff.SpecialCreate) error {
	fileType := c.Mode & unix.S_IFMT
	if fileType == unix.S_IFSOCK {
		d.stats.Sockets++
		return nil
	}
	// The low 32 bits of st_rdev are what mknod(2) takes.
	if err := unix.Mknodat(d.trail.here(), c.Name, fileType|privateFile, int(c.Rdev)); err != nil {
		return fmt.Errorf("cannot create %s: %w", typeName(fileType), explain(d.trail.here(), c.Name, err))
	}
	return d.finishNew(c.Name, fileType, metadata{c.UID, c.GID, c.Mode, c.Mtime})
}

// metadata is what every kind of entry but a symbolic link has.
type metadata struct {
	uid, gid, mode uint32
	mtime          uint64
}

// finishNew gives something just made its metadata.
func (d *deployment) finishNew(name string, fileType uint32, m metadata) error {
	e, err := openEntryOf(d.trail.here(), name, fileType)
	if err != nil {
		return fmt.Errorf("cannot find what was just created: %w", err)
	}
	defer e.close()
	if err := d.dropInherited(e, fileType); err != nil {
		return err
	}
	if err := e.setOwner(m.uid, m.gid); err != nil {
		return fmt.Errorf("cannot set owner %d:%d: %w", m.uid, m.gid, err)
	}
	// After the owner, since chown(2) clears set-user-ID and set-group-ID.
	if err := e.setMode(m.mode); err != nil {
		return fmt.Errorf("cannot set mode %#o: %w", m.mode, err)
	}
	if err := e.setTime(m.mtime); err != nil {
		return fmt.Errorf("cannot set time: %w", err)
	}
	return nil
}

// dropInherited takes the access control lists from a new entry that its directory
// gave it: it is to have what the stream says, on every machine.
func (d *deployment) dropInherited(e *entry, fileType uint32) error {
	inherits, err := d.trail.last().inheritsACL()
	if err != nil || !inherits {
		return err
	}
	names := []string{xattrAccessACL}
	if fileType == unix.S_IFDIR {
		names = append(names, xattrDefaultACL)
	}
	for _, name := range names {
		if err := unix.Removexattr(e.path(), name); err != nil && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("cannot remove inherited attribute %q: %w", name, err)
		}
	}
	return nil
}

func setNameTime(dir int, name string, mtime uint64) error {
	times, err := timesOf(mtime)
	if err == nil {
		err = unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return fmt.Errorf("cannot set time: %w", err)
	}
	return nil
}
