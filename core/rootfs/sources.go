package rootfs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// sources are the files of the tree that a stream of version 1 reads. Each is compared
// with the stream's digest before anything is made of it.
type sources struct {
	ctx    context.Context
	top    int
	trail  *trail // of its own: the deployment is elsewhere
	buffer []byte
	source []byte // of the frame at hand
	// frame are the files of the frame at hand that were compared, by their numbers in
	// its list, and seen are large files: several frames may need them.
	frame map[int]seen
	seen  map[identity]seen
	// unpacking is the file that was read last of those that are packed.
	unpacking unpacking
}

// seen is a file as it was when its digest was taken.
type seen struct {
	identity
	changed unix.Timespec // st_ctim, which moves with every write
	size    int64
	digest  v1.Digest
}

// What is remembered of files: only those that take long to read again, and not too
// many.
const (
	rememberFrom = 1 << 20
	rememberMost = 1024
)

func newSources(ctx context.Context, top int) *sources {
	return &sources{ctx: ctx, top: top, trail: newTrail(top), buffer: make([]byte, bufferSize), seen: map[identity]seen{}}
}

func (s *sources) close() {
	s.unpacking.close()
	s.trail.close()
}

// gather gives the source of a frame: the bytes of its ranges. They are good until
// the next call.
func (s *sources) gather(frame *v1.Frame) ([]byte, error) {
	s.source, s.frame = slices.Grow(s.source[:0], int(frame.SourceSize())), map[int]seen{}
	var old *oldFile
	at := -1
	defer func() {
		if old != nil {
			old.close()
		}
	}()
	for _, r := range frame.Ranges {
		if r.File != at {
			if old != nil {
				old.close()
				old = nil
			}
			var err error
			if old, err = s.open(r.File, frame.Files[r.File]); err != nil {
				return nil, err
			}
			at = r.File
		}
		if err := s.appendRange(old, frame.Files[r.File], r); err != nil {
			return nil, err
		}
	}
	return s.source, nil
}

// appendRange reads a range of a file, as its view says.
func (s *sources) appendRange(old *oldFile, file v1.File, r v1.Range) error {
	if file.View.Method == v1.AsItIs {
		return old.forward(s.ctx, s.buffer, int64(r.Offset), int64(r.Length), func(piece []byte) {
			s.source = append(s.source, piece...)
		})
	}
	have := len(s.source)
	s.source = s.source[:have+int(r.Length)] // gather made room
	return s.unpacking.readAt(s.ctx, old, file, s.source[have:], r.Offset)
}

// open opens a file of the frame's list, which has this number there, and makes sure that
// it is what the stream says.
func (s *sources) open(number int, file v1.File) (*oldFile, error) {
	old, err := s.openPath(file.Path)
	if err == nil {
		if err = s.compare(old, number, file); err == nil {
			return old, nil
		}
		old.close()
	}
	return nil, fmt.Errorf("cannot read %q: %w", file.Path, err)
}

// entry opens what is at a path, whatever it is.
func (s *sources) entry(path string) (*entry, error) {
	directory, name := split(path)
	if err := s.to(directory); err != nil {
		return nil, err
	}
	return openEntry(s.trail.here(), name)
}

// to goes to a directory. What the trail is in may have been removed since; then the
// next way starts from the top.
func (s *sources) to(directory string) error {
	err := s.trail.to(directory)
	if err != nil {
		s.trail.close()
		err = s.trail.to(directory)
	}
	return err
}

func (s *sources) openPath(path string) (*oldFile, error) {
	directory, name := split(path)
	if err := s.to(directory); err != nil {
		return nil, err
	}
	return openOldFile(s.trail.here(), name)
}

// compare makes sure that the file is what the stream was made with.
func (s *sources) compare(old *oldFile, number int, file v1.File) error {
	if old.stat.Size != int64(file.Size) {
		return fmt.Errorf("%w: it has %d bytes instead of %d", ErrOriginMismatch, old.stat.Size, file.Size)
	}
	now := seen{identity: identityOf(&old.stat), changed: old.stat.Ctim, size: old.stat.Size, digest: file.Digest}
	if s.frame[number] == now || s.seen[now.identity] == now {
		return nil
	}
	sum := sha256.New()
	if err := old.forward(s.ctx, s.buffer, 0, old.stat.Size, func(piece []byte) { sum.Write(piece) }); err != nil {
		return err
	}
	if got := v1.Digest(sum.Sum(nil)); got != file.Digest {
		return fmt.Errorf("%w: its content has the digest %x instead of %x", ErrOriginMismatch, got, file.Digest)
	}
	s.frame[number] = now
	if old.stat.Size >= rememberFrom {
		if len(s.seen) == rememberMost {
			clear(s.seen)
		}
		s.seen[now.identity] = now
	}
	return nil
}

// forward calls see with length bytes from offset, in pieces that lie in buffer.
func (o *oldFile) forward(ctx context.Context, buffer []byte, offset, length int64, see func([]byte)) error {
	for end := offset + length; offset < end; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := unix.Pread(o.handle, buffer[:min(int64(len(buffer)), end-offset)], offset)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("cannot read file: %w", err)
		case n == 0:
			return fmt.Errorf("%w: it became shorter", ErrOriginMismatch)
		}
		see(buffer[:n])
		offset += int64(n)
	}
	return nil
}
