package rootfs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

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
	// compared are the files of the frame at hand that were, by their numbers in its list,
	// and seen are large ones: several frames may need them.
	compared map[int]seen
	seen     *memory
	// last is the file that was opened last, of those of the frame's list, and number its number
	// there; nil for none.
	last   *oldFile
	number int
}

// seen is a file as it was when its digest was taken.
type seen struct {
	identity
	changed unix.Timespec // st_ctim, which moves with every write
	size    int64
	digest  v1.Digest
}

// memory is what is remembered of files: only those that take long to read again, and not too
// many.
type memory struct {
	mu    sync.Mutex
	files map[identity]seen
}

const (
	rememberFrom = 1 << 20
	rememberMost = 1024
)

func (m *memory) holds(file seen) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[file.identity] == file
}

func (m *memory) keep(file seen) {
	if file.size < rememberFrom {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil || len(m.files) == rememberMost {
		m.files = map[identity]seen{}
	}
	m.files[file.identity] = file
}

func newSources(ctx context.Context, top int, seen *memory) *sources {
	return &sources{ctx: ctx, top: top, trail: newTrail(top), buffer: make([]byte, bufferSize), seen: seen}
}

func (s *sources) close() {
	s.release()
	s.trail.close()
}

// begin turns to another frame.
func (s *sources) begin(compared map[int]seen) {
	s.release()
	s.compared = compared
}

// release closes what was opened last: its path may lead to something else from now on.
func (s *sources) release() {
	if s.last != nil {
		s.last.close()
		s.last = nil
	}
}

// open opens a file of the frame's list, which has this number there, and makes sure that
// it is what the stream says. It stays open, and its content at hand, until another one is opened
// or release is called.
func (s *sources) open(number int, file v1.File) (*oldFile, error) {
	if s.last != nil && s.number == number {
		return s.last, nil
	}
	s.release()
	old, err := s.openPath(file.Path)
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %w", file.Path, err)
	}
	if err := s.compare(old, number, file); err != nil {
		old.close()
		return nil, fmt.Errorf("cannot read %q: %w", file.Path, err)
	}
	s.last, s.number = old, number
	return old, nil
}

// entry opens what is at a path, whatever it is.
func (s *sources) entry(path string) (e *entry, err error) {
	err = s.find(path, func(directory int, name string) error {
		e, err = openEntry(directory, name)
		return err
	})
	return e, err
}

func (s *sources) openPath(path string) (file *oldFile, err error) {
	err = s.find(path, func(directory int, name string) error {
		file, err = openOldFile(directory, name)
		return err
	})
	return file, err
}

// find calls open with the directory that a path is in, and its last component. What the trail is
// in may have been removed since, and made again: so what cannot be found from there is looked
// for from the top.
func (s *sources) find(path string, open func(directory int, name string) error) error {
	directory, name := split(path)
	try := func() error {
		if err := s.trail.to(directory); err != nil {
			return err
		}
		return open(s.trail.here(), name)
	}
	if try() == nil {
		return nil
	}
	s.trail.close()
	return try()
}

// compare makes sure that the file is what the stream was made with.
func (s *sources) compare(old *oldFile, number int, file v1.File) error {
	if old.stat.Size != int64(file.Size) {
		return fmt.Errorf("%w: it has %d bytes instead of %d", ErrOriginMismatch, old.stat.Size, file.Size)
	}
	now := seenAs(&old.stat, file)
	if s.saw(number, now) {
		return nil
	}
	sum := sha256.New()
	var last []byte
	if err := old.forward(s.ctx, s.buffer, 0, old.stat.Size, func(piece []byte) error {
		sum.Write(piece)
		last = piece
		return nil
	}); err != nil {
		return err
	}
	if got := v1.Digest(sum.Sum(nil)); got != file.Digest {
		return fmt.Errorf("%w: its content has the digest %x instead of %x", ErrOriginMismatch, got, file.Digest)
	}
	s.compared[number] = now
	s.seen.keep(now)
	if int64(len(last)) == old.stat.Size {
		old.content = last
	}
	return nil
}

// seenAs gives what a file is like that has what the stream says.
func seenAs(st *unix.Stat_t, file v1.File) seen {
	return seen{identity: identityOf(st), changed: st.Ctim, size: st.Size, digest: file.Digest}
}

func (s *sources) saw(number int, file seen) bool {
	return s.compared[number] == file || s.seen.holds(file)
}

// sawAt reports whether a name in a directory leads to a file of the frame's list that was compared
// already, and is as it was then.
func (s *sources) sawAt(directory int, name string, number int, file v1.File) bool {
	var st unix.Stat_t
	return unix.Fstatat(directory, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && s.saw(number, seenAs(&st, file))
}

// forward calls see with length bytes from offset, in pieces that lie in buffer.
func (o *oldFile) forward(ctx context.Context, buffer []byte, offset, length int64, see func([]byte) error) error {
	for end := offset + length; offset < end; {
		n, err := o.readSome(ctx, buffer[:min(int64(len(buffer)), end-offset)], offset)
		if err != nil {
			return err
		}
		if err := see(buffer[:n]); err != nil {
			return err
		}
		offset += int64(n)
	}
	return nil
}

// fill reads as many bytes from offset on as b has room for.
func (o *oldFile) fill(ctx context.Context, b []byte, offset int64) error {
	for len(b) > 0 {
		n, err := o.readSome(ctx, b[:min(len(b), bufferSize)], offset)
		if err != nil {
			return err
		}
		b, offset = b[n:], offset+int64(n)
	}
	return nil
}

// readSome reads at least one byte. That there is none means that the file became shorter.
func (o *oldFile) readSome(ctx context.Context, b []byte, offset int64) (int, error) {
	if offset < int64(len(o.content)) {
		return copy(b, o.content[offset:]), context.Cause(ctx)
	}
	for {
		if err := context.Cause(ctx); err != nil {
			return 0, err
		}
		n, err := unix.Pread(o.handle, b, offset)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("cannot read file: %w", err)
		case n == 0:
			return 0, fmt.Errorf("%w: it became shorter", ErrOriginMismatch)
		}
		return n, nil
	}
}
