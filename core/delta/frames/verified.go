package frames

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tree"
)

// verified is a file of a tree that is what the tree's index says.
type verified struct {
	*os.File
	entry *tree.Entry
}

// openVerified opens a file of an index.
func openVerified(path string, entry *tree.Entry) (*verified, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	v := &verified{file, entry}
	if err := v.verify(); err != nil {
		file.Close()
		return nil, err
	}
	return v, nil
}

// verify makes sure that the file is still what the index says. Whoever read it calls
// this last.
func (v *verified) verify() error {
	now, err := tree.EntryOf(v.File, v.entry.Path)
	if err != nil {
		return err
	}
	if v.entry.Device == 0 { // known from before
		now.Device, now.Changed = 0, v.entry.Changed
	}
	if !now.SameInode(v.entry) || now.Modified != v.entry.Modified {
		return &tree.ChangedError{Tree: v.Name(), Path: v.entry.Path}
	}
	return nil
}

// readAt fills b from an offset on.
func (v *verified) readAt(b []byte, at uint64) error {
	_, err := v.ReadAt(b, int64(at))
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// extent is a part of a file.
type extent struct {
	offset, length uint64
	hole           bool
}

// extents gives the file's data and holes in order, all of its size. A filesystem that
// knows no holes has none.
func (v *verified) extents() ([]extent, error) {
	var found []extent
	for at := uint64(0); at < v.entry.Size; {
		data, err := unix.Seek(int(v.Fd()), int64(at), unix.SEEK_DATA)
		switch {
		case errors.Is(err, unix.ENXIO):
			data = int64(v.entry.Size) // a hole up to the end
		case err != nil:
			return nil, err
		}
		if begin := min(uint64(data), v.entry.Size); begin > at {
			found = append(found, extent{offset: at, length: begin - at, hole: true})
			at = begin
			continue
		}
		hole, err := unix.Seek(int(v.Fd()), int64(at), unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		end := min(uint64(hole), v.entry.Size)
		if end <= at {
			return nil, &tree.ChangedError{Tree: v.Name(), Path: v.entry.Path}
		}
		found = append(found, extent{offset: at, length: end - at})
		at = end
	}
	return found, nil
}
