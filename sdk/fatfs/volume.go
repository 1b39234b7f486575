// Package fatfs is what a boot loader plugin has to know of the EFI system partition
// and other FAT filesystems that firmware reads: how a change becomes visible, and
// what FAT cannot do.
//
// FAT has no journal and no inodes: a name, a file's size and the number of its first
// block stand together in one entry of a directory, and the chain of its blocks in a
// table. A name longer than 8.3 takes several entries, in more than one sector at
// times. So only two changes are made at once or not at all: bytes within one sector
// of an existing file, and the exchange of an existing file for another (Replace).
// What only appears may be seen with its short name alone, or not at all.
package fatfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
	"github.com/trebuchet-update/tbupdate/sdk/extfs"
)

// ErrNotMounted says that a directory is no mount point.
var ErrNotMounted = errors.New("no filesystem is mounted there")

// Volume is a mounted filesystem.
type Volume struct {
	Filesystem string // as the kernel names it: "vfat"

	directory string
	dir       *os.File
}

// OpenMount opens the filesystem that is mounted at a directory. Another one than FAT
// is opened too: Check says what is wrong with that.
//
// Errors: ErrNotMounted.
func OpenMount(directory string) (*Volume, error) {
	resolved, err := filepath.EvalSymlinks(directory)
	if err != nil {
		return nil, err
	}
	if resolved, err = filepath.Abs(resolved); err != nil {
		return nil, err
	}
	mounts, err := mountinfo.GetMounts(func(info *mountinfo.Info) (skip, stop bool) { return info.Mountpoint != resolved, false })
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	if len(mounts) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNotMounted, directory)
	}
	dir, err := os.Open(resolved)
	if err != nil {
		return nil, err
	}
	return &Volume{Filesystem: mounts[len(mounts)-1].FSType, directory: resolved, dir: dir}, nil
}

// Close releases the volume, which stays mounted.
func (v *Volume) Close() error { return v.dir.Close() }

// Path joins names to the volume's directory.
func (v *Volume) Path(names ...string) string {
	return filepath.Join(append([]string{v.directory}, names...)...)
}

// Space gives the room that there is now. FAT has no inodes, so there are always
// enough.
func (v *Volume) Space() (extfs.Space, error) {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(v.dir.Fd()), &stat); err != nil {
		return extfs.Space{}, fmt.Errorf("cannot measure the room of %s: %w", v.directory, err)
	}
	size := uint64(stat.Bsize)
	return extfs.Space{BlockSize: size, TotalBytes: stat.Blocks * size, FreeBytes: stat.Bavail * size, FreeInodes: math.MaxInt64}, nil
}

// ReadOnly reports whether nothing can be written. The kernel makes a FAT filesystem
// read-only when it finds it damaged.
func (v *Volume) ReadOnly() (bool, error) {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(v.dir.Fd()), &stat); err != nil {
		return false, err
	}
	return stat.Flags&unix.ST_RDONLY != 0, nil
}

// Settle brings everything written so far to the disk, which without a journal is
// where firmware reads it.
func (v *Volume) Settle() error {
	if err := unix.Syncfs(int(v.dir.Fd())); err != nil {
		return fmt.Errorf("cannot flush %s: %w", v.directory, err)
	}
	return nil
}

// Replace gives an existing or new file another content. The new content is on the
// disk before the rename, which for an existing file changes one entry of its
// directory: the number of the first block and the size. The old blocks are free after
// that, and the kernel may write that down first; so whoever reads in between may find
// a file longer than one block cut short. Nothing that a machine cannot boot without
// may be replaced like this while it is whole.
func (v *Volume) Replace(path string, data []byte) error {
	_, _, err := v.ReplaceFrom(context.Background(), path, bytes.NewReader(data))
	return err
}

// ReplaceFrom is Replace with content that is read from somewhere, and gives its size
// and its SHA-256 in lower-case hex.
func (v *Volume) ReplaceFrom(ctx context.Context, path string, content io.Reader) (size uint64, sum string, err error) {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, "", err
	}
	size, sum, err = durable.Copy(ctx, fresh, content)
	if err == nil {
		err = v.Settle()
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		_ = os.Remove(fresh)
		return 0, "", err
	}
	if err := durable.SyncDirectory(filepath.Dir(path)); err != nil {
		return 0, "", err
	}
	return size, sum, v.Settle()
}

// Check says what stands in the way of an update on this filesystem, whatever the
// boot loader.
func (v *Volume) Check() ([]sdk.Finding, error) {
	var findings []sdk.Finding
	if v.Filesystem != "vfat" {
		findings = append(findings, sdk.Finding{
			Severity: sdk.SeverityBlocking, Subject: v.directory,
			Problem: "it is " + v.Filesystem + ", and firmware reads and writes FAT only",
			Remedy:  "name the EFI system partition with esp",
		})
	}
	readOnly, err := v.ReadOnly()
	if err != nil {
		return nil, err
	}
	if readOnly {
		findings = append(findings, sdk.Finding{
			Severity: sdk.SeverityBlocking, Subject: v.directory,
			Problem: "it is mounted read-only",
			Remedy:  "run fsck.vfat on it if the kernel found it damaged, and mount -o remount,rw " + v.directory,
		})
	}
	return findings, nil
}
