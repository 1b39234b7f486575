// Package rootfs carries out tbdiff streams in a directory tree. It is the only code
// of the updater that writes into a target tree.
//
// The stream is not trusted, and the tree may hold anything. So every write is made
// relative to an open directory handle, on one path component. No symbolic link is
// followed, no mount point is crossed, nothing but plain files and directories is
// ever opened, and what the stream says of the tree is compared with what is there
// before it is changed.
//
// The tree is taken to belong to the caller alone while a stream is deployed (a
// fresh snapshot): a stream that fails leaves it half changed, to be thrown away.
// Even then each file is either as it was or complete: new content is put together
// beside the old one and takes its place at once.
//
// Linux 5.6 or newer (openat2) and a mounted /proc are needed.
package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// ErrOriginMismatch: the tree is not the one that the stream was made from. An entry
// that the stream changes or removes is missing, of another type or too short, or
// one that it makes is there already.
var ErrOriginMismatch = errors.New("the tree is not what the stream was made from")

// Tree is a directory tree to write into. It is not safe for concurrent use.
type Tree struct {
	path string
	top  int // handle of the top directory
}

// Options of a deployment.
type Options struct {
	// Progress, where it is not nil, is called with the sums so far: after every
	// command, and every megabyte or more often within a long one. It is called
	// from the goroutine that called Deploy, which waits for it.
	Progress func(Stats)
}

// Stats counts what a deployment did.
type Stats struct {
	Commands    int   // carried out, IDENTIFY and UPDATE included
	StreamBytes int64 // of the stream that were used
	NewBytes    int64 // of file content that came from the stream
	KeptBytes   int64 // of file content that changed files kept from the origin
	// Sockets that the stream asked for and that were not made: see
	// tbdiff.SpecialCreate.
	Sockets int
}

// Open opens the tree whose top directory is path. A symbolic link in path itself is
// followed: path is the caller's word, not the stream's.
func Open(path string) (*Tree, error) {
	top, err := openRetrying(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot open tree %q: %w", path, err)
	}
	if err := checkProc(top); err != nil {
		unix.Close(top)
		return nil, fmt.Errorf("cannot open tree %q: %w", path, err)
	}
	return &Tree{path: path, top: top}, nil
}

// Close releases the tree. It flushes nothing: see Sync.
func (t *Tree) Close() error {
	if err := unix.Close(t.top); err != nil {
		return fmt.Errorf("cannot close tree %q: %w", t.path, err)
	}
	return nil
}

// Sync flushes the filesystem that holds the tree: when it returns without an error
// all that was deployed is durable.
func (t *Tree) Sync() error {
	if err := unix.Syncfs(t.top); err != nil {
		return fmt.Errorf("cannot flush tree %q: %w", t.path, err)
	}
	return nil
}

// Deploy carries out the stream, which turns the tree from the stream's origin into
// its target. The top directory's own metadata stay as they are, but for its
// modification time, which is not defined afterwards. Nothing is flushed.
//
// An error says at which command it arose, as a *tbdiff.StreamError, and leaves the
// tree half changed. tbdiff.ErrMalformed, tbdiff.ErrTruncated and tbdiff.ErrUnsafe
// blame the stream; ErrOriginMismatch says that stream and tree do not fit; system
// errors (unix.ENOSPC, unix.EDQUOT, unix.EROFS) and the context's are wrapped. The
// context is looked at between commands and between pieces of a file; to interrupt
// a stalled source, close it.
func (t *Tree) Deploy(ctx context.Context, stream *tbdiff.Reader, options Options) (Stats, error) {
	d := &deployment{
		ctx:    ctx,
		stream: stream,
		offset: stream.Offset,
		trail:  newTrail(t.top),
		buffer: make([]byte, bufferSize),
		report: options.Progress,
	}
	defer d.trail.close()
	for {
		command, err := stream.Next()
		if err == io.EOF {
			return d.stats, nil
		}
		if err != nil {
			return d.stats, err
		}
		if err := d.step(command); err != nil {
			return d.stats, stream.Locate(err)
		}
	}
}

// deployment is one run of Deploy.
type deployment struct {
	ctx    context.Context
	stream *tbdiff.Reader // nil for a stream of version 1
	offset func() int64   // of the stream
	trail  *trail
	buffer []byte // for content on its way
	report func(Stats)
	stats  Stats
}

func (d *deployment) step(command tbdiff.Command) error {
	if err := context.Cause(d.ctx); err != nil {
		return err
	}
	if err := d.apply(command); err != nil {
		return err
	}
	d.stats.Commands++
	d.progress()
	return nil
}

func (d *deployment) progress() {
	d.stats.StreamBytes = d.offset()
	if d.report != nil {
		d.report(d.stats)
	}
}

func (d *deployment) apply(command tbdiff.Command) error {
	switch c := command.(type) {
	case tbdiff.DirCreate:
		return d.createDirectory(c)
	case tbdiff.DirEnter:
		return d.trail.enter(c.Name)
	case tbdiff.DirLeave:
		return d.trail.leave(c.Mtime)
	case tbdiff.DirDelta:
		return d.changeDirectory(c)
	case tbdiff.FileCreate:
		return d.createFile(c)
	case tbdiff.FileDelta:
		return d.changeFile(c)
	case tbdiff.FileMetadata:
		return d.changeFileMetadata(c)
	case tbdiff.EntityDelete:
		return remove(d.ctx, d.trail.here(), c.Name)
	case tbdiff.SymlinkCreate:
		return d.createSymlink(c)
	case tbdiff.SpecialCreate:
		return d.createSpecial(c)
	case tbdiff.XattrsUpdate:
		return d.replaceXattrs(c)
	case tbdiff.Identify, tbdiff.Update:
		return nil
	}
	return fmt.Errorf("cannot carry out %s", command.Opcode())
}
