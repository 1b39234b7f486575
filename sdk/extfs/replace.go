package extfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/sdk/durable"
)

// Replace gives an existing or new file another content, such that a boot loader
// finds the old file or the new one at every instant:
//
//  1. The new inode and its data are at their place on the disk before a name
//     that is read points to them.
//  2. The old inode keeps a name until the directory on the disk no longer points
//     to it: otherwise the inode could be seen as deleted, or its blocks be given
//     to another file, while the loader still finds it there.
//  3. The rename changes the inode number within the existing directory entry, so
//     it is one sector's change.
//
// A crash may leave PATH.new or PATH.old, which nothing reads and the next Replace
// takes away.
func (v *Volume) Replace(path string, data []byte) error {
	_, _, err := v.ReplaceFrom(context.Background(), path, bytes.NewReader(data))
	return err
}

// ReplaceFrom is Replace with content that is read from somewhere, and gives its
// size and its SHA-256 in lower-case hex. A cancelled context, too, leaves the old
// file.
func (v *Volume) ReplaceFrom(ctx context.Context, path string, content io.Reader) (size uint64, sum string, err error) {
	fresh, old := path+".new", path+".old"
	for _, leftover := range []string{fresh, old} {
		if err := os.Remove(leftover); err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, "", err
		}
	}
	if size, sum, err = durable.Copy(ctx, fresh, content); err != nil {
		_ = os.Remove(fresh)
		return 0, "", err
	}
	return size, sum, v.exchange(path, fresh, old)
}

func (v *Volume) exchange(path, fresh, old string) error {
	err := os.Link(path, old)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		_ = os.Remove(fresh)
		return err
	}
	hadOld := err == nil
	if err := v.Settle(); err != nil {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	if err := durable.SyncDirectory(filepath.Dir(path)); err != nil {
		return err
	}
	if err := v.Settle(); err != nil {
		return err
	}
	if hadOld {
		return os.Remove(old)
	}
	return nil
}
