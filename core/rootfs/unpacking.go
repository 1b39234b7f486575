package rootfs

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/packed"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// unpacking reads what is packed in a file. It stays where it was, since what frames read
// of one file lies one behind the other: only to go back it begins anew.
type unpacking struct {
	file   v1.File // "" for none
	handle int
	reader packed.Reader
	at     uint64
}

func (u *unpacking) close() {
	if u.reader != nil {
		u.reader.Close()
		unix.Close(u.handle)
		*u = unpacking{}
	}
}

// readAt fills b with what is unpacked from offset on.
func (u *unpacking) readAt(ctx context.Context, old *oldFile, file v1.File, b []byte, offset uint64) error {
	if u.reader == nil || u.file != file || offset < u.at {
		u.close()
		if err := u.begin(ctx, old, file); err != nil {
			return err
		}
	}
	if err := u.reader.Skip(int64(offset - u.at)); err != nil {
		return u.failed(err)
	}
	u.at = offset
	n, err := io.ReadFull(u.reader, b)
	u.at += uint64(n)
	if err != nil {
		return u.failed(err)
	}
	return nil
}

func (u *unpacking) begin(ctx context.Context, old *oldFile, file v1.File) error {
	handle, err := unix.FcntlInt(uintptr(old.handle), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	reader, err := packed.NewReader(file.View.Method, &section{ctx: ctx, handle: handle, at: int64(file.View.Offset), left: int64(file.View.Length)})
	if err != nil {
		unix.Close(handle)
		return fmt.Errorf("cannot unpack %q: %w", file.Path, err)
	}
	*u = unpacking{file: file, handle: handle, reader: reader}
	return nil
}

func (u *unpacking) failed(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = fmt.Errorf("%w: it is less than the stream says", ErrOriginMismatch)
	}
	err = fmt.Errorf("cannot unpack %q: %w", u.file.Path, err)
	u.close()
	return err
}

// section reads a part of an open file.
type section struct {
	ctx      context.Context
	handle   int
	at, left int64
}

func (s *section) Read(b []byte) (int, error) {
	if err := context.Cause(s.ctx); err != nil {
		return 0, err
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := unix.Pread(s.handle, b[:min(int64(len(b)), s.left)], s.at)
	if err == unix.EINTR {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	s.at, s.left = s.at+int64(n), s.left-int64(n)
	return n, nil
}
