package tree

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// chunk is how much of a file is read at a time. Two of them fit into the second
// level cache of a processor, so that comparing or hashing does not go to memory
// again.
const chunk = 128 << 10

// File is an open plain file of a tree.
type File struct {
	fd   int
	node *Node
}

// Close closes the file.
func (f *File) Close() error { return unix.Close(f.fd) }

// Load fills the node's Xattrs.
func (f *File) Load() error {
	attributes, err := handleXattrs(f.fd)
	if err != nil {
		return f.node.failed("read the attributes of", err)
	}
	f.node.Xattrs = attributes
	return nil
}

// EntryOf gives the metadata of an open file, as an entry of this path: without link
// target and attributes.
func EntryOf(file *os.File, path string) (Entry, error) {
	st, err := statHandle(int(file.Fd()))
	if err != nil {
		return Entry{}, fmt.Errorf("cannot read the metadata of %q: %w", file.Name(), err)
	}
	return entryOf(path, &st), nil
}

// Section reads the content from start up to end, in bytes, which is at most the
// size that the node has. A file that ends before that is a *ChangedError. At its
// end the section checks that the file is still what it was when the walk came to
// it, and gives a *ChangedError or io.EOF. When ctx ends, so does reading.
func (f *File) Section(ctx context.Context, start, end uint64) io.Reader {
	return &section{ctx: ctx, file: f, at: start, end: end}
}

type section struct {
	ctx     context.Context
	file    *File
	at, end uint64
}

func (s *section) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if s.at == s.end {
		if err := s.file.Verify(); err != nil {
			return 0, err
		}
		return 0, io.EOF
	}
	p = p[:min(uint64(len(p)), s.end-s.at)]
	if err := s.file.readAt(p, s.at); err != nil {
		return 0, err
	}
	s.at += uint64(len(p))
	return len(p), nil
}

// readAt fills p from offset. A file that ends within p has changed.
func (f *File) readAt(p []byte, offset uint64) error {
	for len(p) > 0 {
		n, err := retry(func() (int, error) { return unix.Pread(f.fd, p, int64(offset)) })
		if err != nil {
			return f.node.failed("read", err)
		}
		if n == 0 {
			return f.node.changed()
		}
		p, offset = p[n:], offset+uint64(n)
	}
	return nil
}

// Verify checks that the file is still what it was when the walk came to it: the
// same inode, with the same size and times. Whoever read it calls this last, for
// then what was read is one state of the file. A Section does so by itself.
func (f *File) Verify() error {
	st, err := statHandle(f.fd)
	if err != nil {
		return f.node.failed("read the metadata of", err)
	}
	now, then := entryOf(f.node.Path, &st), &f.node.Entry
	// The change time moves with every write and cannot be set by a program.
	if !now.SameInode(then) || now.Modified != then.Modified || now.Kind() != then.Kind() {
		return f.node.changed()
	}
	return nil
}

// forward calls see with the content in order, in pieces that lie in buffer, and
// verifies the file at the end.
func (f *File) forward(ctx context.Context, buffer []byte, see func([]byte)) error {
	for offset := uint64(0); offset < f.node.Size; offset += uint64(len(buffer)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		piece := buffer[:min(uint64(len(buffer)), f.node.Size-offset)]
		if err := f.readAt(piece, offset); err != nil {
			return err
		}
		see(piece)
	}
	return f.Verify()
}
