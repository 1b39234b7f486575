package rootfs

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// become gives an entry all its metadata.
func become(e *entry, m *v1.Metadata) error {
	if uint32(e.stat.Uid) != m.UID || uint32(e.stat.Gid) != m.GID {
		if err := e.setOwner(m.UID, m.GID); err != nil {
			return fmt.Errorf("cannot set owner %d:%d: %w", m.UID, m.GID, err)
		}
	}
	// After the owner, whose change takes capabilities away.
	if err := setAttributes(e, m.Attributes); err != nil {
		return err
	}
	// After the owner, which takes set-user-ID away, and after the access control list,
	// which holds the group's bits.
	if e.fileType() != unix.S_IFLNK {
		if err := e.setMode(m.Mode); err != nil {
			return fmt.Errorf("cannot set mode %#o: %w", m.Mode, err)
		}
	}
	return setTime(e, m)
}

// setAttributes makes the attributes of an entry those of the list.
func setAttributes(e *entry, attributes []v1.Attribute) error {
	wanted := make([]tbdiff.Xattr, len(attributes))
	for i, a := range attributes {
		wanted[i] = tbdiff.Xattr(a)
	}
	obsolete, missing, err := compareXattrs(e.path(), wanted)
	if err != nil || len(obsolete)+len(missing) == 0 {
		return err
	}
	return changeXattrs(e.path(), obsolete, missing, func(err error) error { return err })
}

func setTime(e *entry, m *v1.Metadata) error {
	modified, err := unix.TimeToTimespec(time.Unix(m.Seconds, int64(m.Nanoseconds)))
	if err != nil {
		return fmt.Errorf("cannot set time: %d is beyond this machine's: %w", m.Seconds, err)
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, e.path(), []unix.Timespec{{Nsec: unix.UTIME_OMIT}, modified}, 0); err != nil {
		return fmt.Errorf("cannot set time: %w", err)
	}
	return nil
}

// meta changes what the command names of the metadata of what is there, and keeps the
// rest also where the kernel would not.
func (d *frameDeployment) meta(name string, c *v1.Meta) error {
	e, err := d.there(name)
	if err != nil {
		return fmt.Errorf("cannot change the metadata: %w", err)
	}
	defer e.close()
	if err := changeMeta(e, c); err != nil {
		return explain(d.trail.here(), name, err)
	}
	return nil
}

// there opens what has this name in the directory at hand; "" is the directory itself.
func (d *frameDeployment) there(name string) (*entry, error) {
	if name != "" {
		return openEntry(d.trail.here(), name)
	}
	return openEntry(d.trail.here(), ".")
}

func changeMeta(e *entry, c *v1.Meta) error {
	if c.Mask&(v1.MaskUID|v1.MaskGID) != 0 {
		m := metadata{uid: c.UID, gid: c.GID}
		if err := changeOwner(e, classicMask(c.Mask), m); err != nil {
			return fmt.Errorf("cannot set owner %d:%d: %w", c.UID, c.GID, err)
		}
	}
	if c.Mask&v1.MaskAttributes != 0 {
		if err := setAttributes(e, c.Attributes); err != nil {
			return err
		}
	}
	mode := uint32(e.stat.Mode) & permissions
	if c.Mask&v1.MaskMode != 0 {
		mode = c.Mode
	}
	// The owner's change and that of the attributes may have changed the mode as well.
	kept := mode == uint32(e.stat.Mode)&permissions && c.Mask&(v1.MaskUID|v1.MaskGID|v1.MaskAttributes) == 0
	if e.fileType() != unix.S_IFLNK && !kept {
		if err := e.setMode(mode); err != nil {
			return fmt.Errorf("cannot set mode %#o: %w", mode, err)
		}
	}
	if c.Mask&v1.MaskTime != 0 {
		return setTime(e, &c.Metadata)
	}
	return nil
}

// classicMask gives the bits for the owner as version 0 has them.
func classicMask(mask v1.Mask) (classic tbdiff.Mask) {
	if mask&v1.MaskUID != 0 {
		classic |= tbdiff.MaskUID
	}
	if mask&v1.MaskGID != 0 {
		classic |= tbdiff.MaskGID
	}
	return classic
}

// directory makes a directory, or gives one that is there its metadata.
func (d *frameDeployment) directory(name string, m *v1.Metadata) error {
	err := unix.Mkdirat(d.trail.here(), name, privateDirectory)
	if errors.Is(err, unix.EEXIST) && isSocket(d.trail.here(), name) { // which no stream knows of
		if err = unix.Unlinkat(d.trail.here(), name, 0); err == nil {
			err = unix.Mkdirat(d.trail.here(), name, privateDirectory)
		}
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("cannot create directory: %w", explain(d.trail.here(), name, err))
	}
	e, err := openEntryOf(d.trail.here(), name, unix.S_IFDIR)
	if err != nil {
		return err
	}
	defer e.close()
	if err := become(e, m); err != nil {
		return explain(d.trail.here(), name, err)
	}
	return nil
}

func isSocket(dir int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK
}

func (d *frameDeployment) device(name string, c *v1.Device) error {
	fileType := uint32(unix.S_IFCHR)
	if c.Block {
		fileType = unix.S_IFBLK
	}
	number := unix.Mkdev(c.Major, c.Minor)
	// What mknod(2) takes has 12 bits of the one and 20 of the other.
	if number != uint64(uint32(number)) || unix.Major(number) != c.Major || unix.Minor(number) != c.Minor {
		return fmt.Errorf("cannot make device %d:%d: Linux has no such numbers", c.Major, c.Minor)
	}
	return d.put(name, func(as string) error {
		return unix.Mknodat(d.trail.here(), as, fileType|privateFile, int(number))
	}, &c.Metadata)
}

// put makes something under another name, gives it its metadata, and then its name.
func (d *frameDeployment) put(name string, make func(as string) error, m *v1.Metadata) error {
	return d.replacing(name, make, func(as string) error {
		e, err := openEntry(d.trail.here(), as)
		if err != nil {
			return err
		}
		defer e.close()
		return become(e, m)
	})
}

// replacing makes something under another name, finishes it, and renames it.
func (d *frameDeployment) replacing(name string, make, finish func(as string) error) error {
	dir := d.trail.here()
	as, err := free(make)
	if err != nil {
		return fmt.Errorf("cannot make it: %w", explain(dir, name, err))
	}
	if err = finish(as); err == nil {
		err = rename(dir, as, dir, name)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, as, 0) // the error that led here is the one to report
		return explain(dir, name, err)
	}
	return nil
}

// free calls make with names until there is one that nothing has.
func free(make func(as string) error) (string, error) {
	for i := 0; ; i++ {
		as := temporaryName(i)
		if err := make(as); !errors.Is(err, unix.EEXIST) {
			return as, err
		}
	}
}

func temporaryName(i int) string { return ".tbdiff-new-" + strconv.Itoa(i) }

// rename moves what has one name to another, whatever but a directory has that. Two names
// of one file are the case in which rename(2) does nothing at all.
func rename(fromDir int, from string, toDir int, to string) error {
	if err := unix.Renameat(fromDir, from, toDir, to); err != nil {
		return fmt.Errorf("cannot put it in place: %w", err)
	}
	if err := unix.Unlinkat(fromDir, from, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove its other name: %w", err)
	}
	return nil
}

// link makes a further name of what is at the path to.
func (d *frameDeployment) link(name, to string) error {
	old, err := d.sources.entry(to)
	if err != nil {
		return fmt.Errorf("cannot link to %q: %w", to, err)
	}
	defer old.close()
	if old.fileType() == unix.S_IFDIR {
		return fmt.Errorf("cannot link to %q: %w: it is a directory", to, ErrOriginMismatch)
	}
	return d.replacing(name, func(as string) error {
		return unix.Linkat(old.handle, "", d.trail.here(), as, unix.AT_EMPTY_PATH)
	}, func(string) error { return nil })
}

// move gives what is at another path this name.
func (d *frameDeployment) move(name string, c *v1.Move) error {
	from := c.From
	if number, ok := c.Moved.File(); ok {
		if err := d.verify(number); err != nil {
			return err
		}
	}
	e, err := d.sources.entry(from)
	if err != nil {
		return fmt.Errorf("cannot find %q: %w", from, err)
	}
	defer e.close()
	if e.fileType() == unix.S_IFDIR {
		return fmt.Errorf("cannot move %q: %w: it is a directory", from, ErrOriginMismatch)
	}
	_, old := split(from)
	return explain(d.trail.here(), name, rename(d.sources.trail.here(), old, d.trail.here(), name))
}
