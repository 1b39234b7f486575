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
	cloneFrom = 32 << 10
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

// copyRange writes a range of the old file at the position of to, which is at. The
// kernel does the copying, and where the filesystem can, it shares whole blocks
// between the files instead (copy_file_range(2)). That takes a range that begins
// with a block in both, so what is before the first common one is copied by hand.
func (d *deployment) copyRange(to int, at int64, old *oldFile, start, length int64) error {
	write := func(b []byte) error { return writeAll(to, b) }
	if length >= cloneFrom {
		head := old.beforeBlock(start, at)
		if err := d.copyByHand(old, start, head, write); err != nil {
			return err
		}
		cloned, err := d.cloneRange(to, old, start+head, length-head)
		if err != nil {
			return err
		}
		start, length = start+head+cloned, length-head-cloned
	}
	return d.copyByHand(old, start, length, write)
}

// beforeBlock gives how much of the file from start on is before the first block that is one as
// well where it is to be, at another offset: 0 where blocks do not meet.
func (o *oldFile) beforeBlock(start, at int64) int64 {
	block := max(int64(o.stat.Blksize), 1)
	if start%block != at%block {
		return 0
	}
	return (block - start%block) % block
}

// cloneRange has the kernel copy as much as it will, and says how much that was.
// That it stops may only mean that it cannot copy between these two files: what is
// left is copied by hand, where an error shows again.
func (d *deployment) cloneRange(to int, old *oldFile, start, length int64) (int64, error) {
	// Not all at once, so that cancelling does not wait long where it copies in fact.
	const most = 256 << 20
	var cloned int64
	for cloned < length {
		from := start + cloned
		n, err := unix.CopyFileRange(old.handle, &from, to, nil, int(min(length-cloned, most)), 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			break
		}
		cloned += int64(n)
		if err := d.kept(n); err != nil {
			return cloned, err
		}
	}
	return cloned, nil
}

// copyByHand gives a range of the old file to write, piece by piece.
func (d *deployment) copyByHand(old *oldFile, start, length int64, write func([]byte) error) error {
	return old.forward(d.ctx, d.buffer, start, length, func(piece []byte) error {
		if err := write(piece); err != nil {
			return err
		}
		return d.kept(len(piece))
	})
}

// kept accounts for content that stays.
func (d *deployment) kept(n int) error {
	d.stats.KeptBytes += int64(n)
	return d.pause()
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
