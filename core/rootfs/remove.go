package rootfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// remove deletes name in dir, a directory with all below it. Symbolic links are
// removed, not followed. It stops at a mount point and at another filesystem
// (ErrUnsafe).
func remove(ctx context.Context, dir int, name string) error {
	isDirectory, err := unlinkName(dir, name)
	if err != nil {
		return fmt.Errorf("cannot delete: %w", explain(dir, name, err))
	}
	if !isDirectory {
		return nil
	}
	r := &remover{ctx: ctx, buffer: make([]byte, direntBuffer)}
	defer r.close()
	if err := r.removeTree(dir, name); err != nil {
		return fmt.Errorf("cannot delete directory: %w", err)
	}
	return nil
}

// unlinkName deletes name unless it is a directory.
func unlinkName(dir int, name string) (isDirectory bool, err error) {
	err = unix.Unlinkat(dir, name, 0)
	if errors.Is(err, unix.EISDIR) {
		return true, nil
	}
	return false, err
}

// direntBuffer is the size of the pieces in which directories are read.
const direntBuffer = 16 << 10

// remover deletes a directory tree from its leaves. It goes down and up by itself
// rather than by recursion, and keeps only the deepest handles open, so that depth
// costs a name each and no more.
type remover struct {
	ctx    context.Context
	buffer []byte
	levels []removal // the first is the directory that holds the tree
}

// removal is one directory on the way to where the remover is.
type removal struct {
	level
	name    string   // in the directory above
	pending []string // directories found in it that are still to be deleted
	whole   bool     // it was read to its end
}

func (r *remover) removeTree(dir int, name string) error {
	id, err := identify(dir)
	if err != nil {
		return err
	}
	r.levels = []removal{{level: level{handle: dir, identity: id}, pending: []string{name}, whole: true}}
	for {
		if err := context.Cause(r.ctx); err != nil {
			return err
		}
		here := &r.levels[len(r.levels)-1]
		switch {
		case len(here.pending) > 0:
			if err := r.down(here); err != nil {
				return err
			}
		case !here.whole:
			if err := r.clear(here); err != nil {
				return err
			}
		case len(r.levels) == 1:
			return nil
		default:
			if err := r.up(here); err != nil {
				return err
			}
		}
	}
}

// down deletes the last pending directory if it is empty, and goes into it otherwise.
func (r *remover) down(here *removal) error {
	name := here.pending[len(here.pending)-1]
	here.pending = here.pending[:len(here.pending)-1]
	// It saves a visit, and an empty directory may stand for another filesystem that
	// is not there, as one in a snapshot does for a nested subvolume.
	err := unix.Unlinkat(here.handle, name, unix.AT_REMOVEDIR)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("cannot delete %q: %w", name, explain(here.handle, name, err))
	}
	handle, err := openDirectory(here.handle, name)
	if err != nil {
		return fmt.Errorf("cannot open %q: %w", name, explain(here.handle, name, err))
	}
	id, err := identify(handle)
	sameDevice := id.device == here.identity.device
	r.levels = append(r.levels, removal{level: level{handle: handle, identity: id}, name: name})
	if err != nil {
		return err
	}
	if !sameDevice {
		return fmt.Errorf("%w: %q is another filesystem", tbdiff.ErrUnsafe, name)
	}
	if far := len(r.levels) - 1 - openLevels; far > 0 {
		r.levels[far].release()
	}
	return nil
}

// clear reads the next piece of a directory and deletes what is no directory.
func (r *remover) clear(here *removal) error {
	n, err := unix.Getdents(here.handle, r.buffer)
	if err != nil {
		return fmt.Errorf("cannot read %q: %w", here.name, err)
	}
	if n == 0 {
		here.whole = true
		return nil
	}
	for _, name := range direntNames(r.buffer[:n]) {
		isDirectory, err := unlinkName(here.handle, name)
		if err != nil {
			return fmt.Errorf("cannot delete %q: %w", name, explain(here.handle, name, err))
		}
		if isDirectory {
			here.pending = append(here.pending, name)
		}
	}
	return nil
}

// up deletes the directory that the remover is in, which is empty, and goes to the
// one above.
func (r *remover) up(here *removal) error {
	above := &r.levels[len(r.levels)-2]
	if above.handle < 0 {
		handle, err := openParent(here.handle, above.identity)
		if err != nil {
			return err
		}
		// It is read again from its start, where only directories are left.
		above.handle, above.pending, above.whole = handle, nil, false
	}
	if err := unix.Unlinkat(above.handle, here.name, unix.AT_REMOVEDIR); err != nil {
		return fmt.Errorf("cannot delete %q: %w", here.name, explain(above.handle, here.name, err))
	}
	here.release()
	r.levels = r.levels[:len(r.levels)-1]
	return nil
}

// close releases the handles that are left after a failure.
func (r *remover) close() {
	for i := range r.levels {
		if i > 0 {
			r.levels[i].release()
		}
	}
}

// direntNames gives the names in a buffer that getdents64(2) filled, without "." and
// "..".
func direntNames(b []byte) []string {
	const (
		reclen = unsafe.Offsetof(unix.Dirent{}.Reclen)
		start  = unsafe.Offsetof(unix.Dirent{}.Name)
	)
	var names []string
	for len(b) > int(start) {
		length := binary.NativeEndian.Uint16(b[reclen:])
		name := unix.ByteSliceToString(b[start:length])
		b = b[length:]
		if name != "." && name != ".." {
			names = append(names, name)
		}
	}
	return names
}
