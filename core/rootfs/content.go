package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

const (
	// bufferSize is that of the pieces in which content is moved.
	bufferSize = 1 << 20
	// cloneFrom is the length from which the kernel is asked to clone or copy a
	// range. Below it a copy costs less than a shared extent does later.
	cloneFrom = 128 << 10
)

// writeData writes the current command's payload at the position of handle.
func (d *deployment) writeData(handle int) error {
	data := d.stream.Data()
	for {
		n, err := data.Read(d.buffer)
		if n > 0 {
			if err := writeAll(handle, d.buffer[:n]); err != nil {
				return err
			}
			d.stats.NewBytes += int64(n)
			if err := d.pause(); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyRange appends a range of the file from at the position of to. The kernel
// copies, and on a filesystem that can share extents between files it shares the
// whole blocks of the range where the range keeps its alignment (copy_file_range(2)).
func (d *deployment) copyRange(to, from int, start, length int64) error {
	for clone := true; length > 0; {
		var n int
		var err error
		if clone && length >= cloneFrom {
			n, err = copyInKernel(to, from, start, length)
			if clone = err == nil && n > 0; !clone {
				n, err = 0, nil
			}
		} else {
			n, err = d.copyPiece(to, from, start, length)
		}
		if err != nil {
			return err
		}
		start += int64(n)
		length -= int64(n)
		d.stats.KeptBytes += int64(n)
		if err := d.pause(); err != nil {
			return err
		}
	}
	return nil
}

// copyInKernel copies up to length bytes. An error may only mean that this pair of
// files cannot be copied this way.
func copyInKernel(to, from int, start, length int64) (int, error) {
	// Less than a gigabyte at a time, so that cancelling does not wait long where
	// it has to copy in fact.
	const most = 256 << 20
	for {
		n, err := unix.CopyFileRange(from, &start, to, nil, int(min(length, most)), 0)
		if err != unix.EINTR {
			return n, err
		}
	}
}

func (d *deployment) copyPiece(to, from int, start, length int64) (int, error) {
	piece := d.buffer[:min(length, int64(len(d.buffer)))]
	n, err := unix.Pread(from, piece, start)
	switch {
	case errors.Is(err, unix.EINTR):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("cannot read the old version of file: %w", err)
	case n == 0:
		return 0, fmt.Errorf("%w: the old version of file became shorter", ErrOriginMismatch)
	}
	return n, writeAll(to, piece[:n])
}

// pause is called between pieces of content.
func (d *deployment) pause() error {
	d.progress()
	return context.Cause(d.ctx)
}

func writeAll(handle int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(handle, b)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("cannot write file: %w", err)
		}
		b = b[max(n, 0):]
	}
	return nil
}
