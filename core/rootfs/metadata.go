package rootfs

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

func (d *deployment) changeDirectory(c tbdiff.DirDelta) error {
	e, err := openEntryOf(d.trail.here(), c.Name, unix.S_IFDIR)
	if err != nil {
		return fmt.Errorf("cannot change directory: %w", err)
	}
	defer e.close()
	return d.changeMetadata(e, c.Name, c.Mask, metadata{c.UID, c.GID, c.Mode, c.Mtime})
}

func (d *deployment) changeFileMetadata(c tbdiff.FileMetadata) error {
	e, err := openEntryOf(d.trail.here(), c.Name, unix.S_IFREG)
	if err != nil {
		return fmt.Errorf("cannot change the metadata of file: %w", err)
	}
	defer func() { e.close() }()
	if e.stat.Nlink > 1 {
		own, err := d.separate(e, c.Name)
		if err != nil {
			return err
		}
		e.close()
		e = own
	}
	return d.changeMetadata(e, c.Name, c.Mask, metadata{c.UID, c.GID, c.Mode, c.Mtime})
}

// changeMetadata sets what mask names, and the mode always.
func (d *deployment) changeMetadata(e *entry, name string, mask tbdiff.Mask, m metadata) error {
	if mask&(tbdiff.MaskUID|tbdiff.MaskGID) != 0 {
		if err := changeOwner(e, mask, m); err != nil {
			return fmt.Errorf("cannot set owner %d:%d: %w", m.uid, m.gid, explain(d.trail.here(), name, err))
		}
	}
	// After the owner, since chown(2) clears set-user-ID and set-group-ID.
	if err := e.setMode(m.mode); err != nil {
		return fmt.Errorf("cannot set mode %#o: %w", m.mode, explain(d.trail.here(), name, err))
	}
	if mask&tbdiff.MaskMtime != 0 {
		if err := e.setTime(m.mtime); err != nil {
			return fmt.Errorf("cannot set time: %w", explain(d.trail.here(), name, err))
		}
	}
	return nil
}

// changeOwner sets the owner, the group or both. It keeps a file's capabilities,
// which the kernel takes away with its owner: the stream did not ask for that.
func changeOwner(e *entry, mask tbdiff.Mask, m metadata) error {
	uid, gid := uint32(e.stat.Uid), uint32(e.stat.Gid)
	if mask&tbdiff.MaskUID != 0 {
		uid = m.uid
	}
	if mask&tbdiff.MaskGID != 0 {
		gid = m.gid
	}
	capabilities, err := getXattr(e.path(), xattrCapability)
	if err != nil {
		return err
	}
	if err := e.setOwner(uid, gid); err != nil {
		return err
	}
	if capabilities == nil {
		return nil
	}
	return unix.Setxattr(e.path(), xattrCapability, capabilities, 0)
}

// separate makes the plain file name a file of its own, when it has other names: those
// stay as they are. It gives the new file, which is equal to the old one in all.
func (d *deployment) separate(e *entry, name string) (*entry, error) {
	own, err := d.copyOfItsOwn(e, name)
	if err != nil {
		return nil, fmt.Errorf("cannot separate file from its other names: %w", err)
	}
	return own, nil
}

func (d *deployment) copyOfItsOwn(e *entry, name string) (*entry, error) {
	old, err := openOldFile(d.trail.here(), name)
	if err != nil {
		return nil, err
	}
	defer old.close()
	f, err := createReplacement(d.trail.here(), name)
	if err != nil {
		return nil, err
	}
	defer f.discard()
	if err := d.copyRange(f.handle, 0, old, 0, old.stat.Size); err != nil {
		return nil, err
	}
	m := metadata{uid: uint32(e.stat.Uid), gid: uint32(e.stat.Gid), mode: uint32(e.stat.Mode)}
	if err := d.finishFile(f, m); err != nil {
		return nil, err
	}
	if err := copyXattrs((&entry{handle: f.handle}).path(), e.path()); err != nil {
		return nil, err
	}
	if err := unix.UtimesNanoAt(f.dir, f.name, []unix.Timespec{e.stat.Atim, e.stat.Mtim}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, err
	}
	if err := f.replace(name); err != nil {
		return nil, err
	}
	return openEntryOf(d.trail.here(), name, unix.S_IFREG)
}
