// Package durable writes single files such that they survive a loss of power, and
// reads them back as they are on the disk. It works on any filesystem; when a boot
// loader sees what was written is the matter of the filesystem's own package.
package durable

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrMismatch says that what was read back is not what was written.
var ErrMismatch = errors.New("what was read back is not what was written")

// immutable is FS_IMMUTABLE_FL of the kernel's include/uapi/linux/fs.h.
const immutable = 0x10

// SyncDirectory makes the names in a directory durable.
func SyncDirectory(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

// Create writes a new file and makes its content durable, not its name. Nothing
// may have the name.
func Create(path string, data []byte) error {
	_, err := createFrom(context.Background(), path, bytes.NewReader(data))
	return err
}

// Copy writes a new file like Create, reads it back from the disk, and gives its
// SHA-256 in lower-case hex.
//
// Errors: ErrMismatch, and those of the context.
func Copy(ctx context.Context, path string, source io.Reader) (size uint64, sum string, err error) {
	hash := sha256.New()
	n, err := createFrom(ctx, path, io.TeeReader(source, hash))
	if err != nil {
		return 0, "", err
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	again, err := Digest(ctx, path)
	if err != nil {
		return 0, "", err
	}
	if again != sum {
		return 0, "", fmt.Errorf("%w: %s", ErrMismatch, path)
	}
	return uint64(n), sum, nil
}

func createFrom(ctx context.Context, path string, source io.Reader) (n int64, err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
	}()
	if n, err = io.Copy(file, ContextReader(ctx, source)); err != nil {
		return n, err
	}
	return n, file.Sync()
}

// Digest gives the SHA-256 of a file, in lower-case hex, as it is on the disk.
func Digest(ctx context.Context, path string) (string, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	// Without this the check would be of the page cache, not of the disk.
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return "", fmt.Errorf("cannot drop cached pages of %s: %w", path, err)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, ContextReader(ctx, file)); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// ContextReader makes a copy end when the context does.
func ContextReader(ctx context.Context, reader io.Reader) io.Reader {
	return contextReader{ctx, reader}
}

type contextReader struct {
	ctx    context.Context
	reader io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.reader.Read(p)
}

// Overwrite writes over part of an existing file, in place, and makes it durable.
// The blocks are already the file's, so that the journal has no part in it: within
// one sector the loader finds the old bytes or the new ones. It never makes the
// file longer, and lifts the immutable flag for as long as it takes.
func Overwrite(path string, offset int64, data []byte) (err error) {
	restore, err := liftImmutable(path)
	if err != nil {
		return err
	}
	defer func() {
		if restoreErr := restore(); err == nil {
			err = restoreErr
		}
	}()
	file, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || offset < 0 || offset+int64(len(data)) > info.Size() {
		return fmt.Errorf("%s has %d bytes, too few to write %d at %d", path, info.Size(), len(data), offset)
	}
	if _, err := file.WriteAt(data, offset); err != nil {
		return err
	}
	return file.Sync()
}

// liftImmutable takes the immutable flag off a file, where it has one, and gives
// what puts it back. extlinux sets it on ldlinux.sys, whose sectors must not move.
func liftImmutable(path string) (restore func() error, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	flags, err := unix.IoctlGetUint32(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&immutable == 0 {
		file.Close()
		return func() error { return nil }, nil
	}
	if err := unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, int(flags&^immutable)); err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot make %s mutable: %w", path, err)
	}
	return func() error {
		defer file.Close()
		if err := unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, int(flags)); err != nil {
			return fmt.Errorf("cannot make %s immutable again: %w", path, err)
		}
		return nil
	}, nil
}
