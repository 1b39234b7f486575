package rootfs

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

func (d *deployment) createFile(c tbdiff.FileCreate) error {
	dir := d.trail.here()
	handle, err := unix.Openat(dir, c.Name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, privateFile)
	if err != nil {
		return fmt.Errorf("cannot create file: %w", explain(dir, c.Name, err))
	}
	f := &newFile{dir: dir, name: c.Name, handle: handle}
	defer f.discard()
	if err := d.writeData(handle); err != nil {
		return err
	}
	if err := d.finishFile(f, metadata{c.UID, c.GID, c.Mode, c.Mtime}); err != nil {
		return err
	}
	return f.keep()
}

// changeFile puts the new content together in a file of its own, which then takes
// the name of the old one. So a failure on the way leaves the old content; other
// names of a hard-linked file keep it as well, as the format has no hard links; and
// since what is kept is cloned where the filesystem can do that (see copyRange),
// room and time go into what is new, as they would in place.
func (d *deployment) changeFile(c tbdiff.FileDelta) error {
	old, err := openOldFile(d.trail.here(), c.Name)
	if err != nil {
		return fmt.Errorf("cannot change file: %w", err)
	}
	defer old.close()
	size, err := old.checkRange(c)
	if err != nil {
		return fmt.Errorf("cannot change file: %w", err)
	}
	f, err := createReplacement(d.trail.here(), c.Name)
	if err != nil {
		return fmt.Errorf("cannot create the new version of file: %w", err)
	}
	defer f.discard()
	if err := d.copyRange(f.handle, 0, old, 0, int64(c.Start)); err != nil {
		return err
	}
	if err := d.writeData(f.handle); err != nil {
		return err
	}
	if err := d.copyRange(f.handle, int64(c.Start)+int64(c.Size), old, int64(c.End), size-int64(c.End)); err != nil {
		return err
	}
	if err := d.finishFile(f, metadata{c.UID, c.GID, c.Mode, c.Mtime}); err != nil {
		return err
	}
	return f.replace(c.Name)
}

// oldFile is an existing plain file, open for reading.
type oldFile struct {
	handle int
	stat   unix.Stat_t
	// content is all that is in the file, where that is at hand; nil otherwise.
	content []byte
}

// openOldFile opens the plain file name. It is looked at before it is opened, since
// opening a FIFO may block and opening a device may do anything, and what was opened
// must be what was seen then.
func openOldFile(dir int, name string) (*oldFile, error) {
	var before entry
	if err := unix.Fstatat(dir, name, &before.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, explain(dir, name, err)
	}
	if err := before.expect(unix.S_IFREG); err != nil {
		return nil, err
	}
	handle, err := openBeneath(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil, explain(dir, name, err)
	}
	old := &oldFile{handle: handle}
	if err = unix.Fstat(handle, &old.stat); err == nil && identityOf(&old.stat) != identityOf(&before.stat) {
		err = fmt.Errorf("%w: it was replaced while it was opened", ErrOriginMismatch)
	}
	if err != nil {
		old.close()
		return nil, err
	}
	return old, nil
}

func (o *oldFile) close() { unix.Close(o.handle) }

// checkRange compares a delta with the file that it is for, and gives the size of
// that file. That Start is not beyond End the codec has seen.
func (o *oldFile) checkRange(c tbdiff.FileDelta) (int64, error) {
	size := o.stat.Size
	if int64(c.End) > size {
		return 0, fmt.Errorf("%w: the file has %d bytes, and the stream keeps what follows byte %d", ErrOriginMismatch, size, c.End)
	}
	if result := int64(c.Start) + int64(c.Size) + size - int64(c.End); result > math.MaxUint32 {
		return 0, fmt.Errorf("%w: the new file would have %d bytes, which no stream of this version makes", ErrOriginMismatch, result)
	}
	return size, nil
}

// finishFile gives a file that was just written its metadata. It has no extended
// attributes then.
func (d *deployment) finishFile(f *newFile, m metadata) error {
	if err := d.dropInherited(&entry{handle: f.handle}, unix.S_IFREG); err != nil {
		return err
	}
	if err := unix.Fchown(f.handle, int(m.uid), int(m.gid)); err != nil {
		return fmt.Errorf("cannot set owner %d:%d: %w", m.uid, m.gid, err)
	}
	// After the owner, since chown(2) clears set-user-ID and set-group-ID.
	if err := unix.Fchmod(f.handle, m.mode&permissions); err != nil {
		return fmt.Errorf("cannot set mode %#o: %w", m.mode, err)
	}
	return setNameTime(f.dir, f.name, m.mtime)
}

// newFile is a file being written. Unless keep or replace succeeds, discard removes
// it.
type newFile struct {
	dir    int
	name   string
	handle int  // -1 when it is closed
	kept   bool // it has its place
}

// createReplacement makes a file in dir that is to replace name, under a name that
// nothing there has.
func createReplacement(dir int, name string) (*newFile, error) {
	var handle int
	temporary, err := free(func(as string) (err error) {
		handle, err = unix.Openat(dir, as, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, privateFile)
		return err
	})
	if err != nil {
		return nil, explain(dir, name, err)
	}
	return &newFile{dir: dir, name: temporary, handle: handle}, nil
}

// keep closes the file, which has its name already.
func (f *newFile) keep() error {
	err := unix.Close(f.handle)
	f.handle = -1
	if err != nil {
		return fmt.Errorf("cannot close file: %w", err)
	}
	f.kept = true
	return nil
}

// replace closes the file and gives it the name of the one that it replaces.
func (f *newFile) replace(name string) error {
	if err := f.keep(); err != nil {
		return err
	}
	f.kept = false
	if err := unix.Renameat(f.dir, f.name, f.dir, name); err != nil {
		return fmt.Errorf("cannot put the new version of file in place: %w", explain(f.dir, name, err))
	}
	f.kept = true
	return nil
}

func (f *newFile) discard() {
	if f.handle >= 0 {
		unix.Close(f.handle)
	}
	if !f.kept {
		// The error that led here is the one to report.
		_ = unix.Unlinkat(f.dir, f.name, 0)
	}
}
