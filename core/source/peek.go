package source

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Peek gives the first bytes, n or as many as there are, and leaves them to be read. It is
// called before anything was read.
func (s *Source) Peek(n int) ([]byte, error) {
	head := make([]byte, n)
	if f, ok := s.ReadCloser.(*os.File); ok {
		got, err := f.ReadAt(head, 0)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return head[:got], s.readError(err)
	}
	got, err := io.ReadFull(s.ReadCloser, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	head = head[:got]
	s.ReadCloser = &peeked{head: head, ReadCloser: s.ReadCloser}
	return head, s.readError(err)
}

// peeked is a source of which the head was read already.
type peeked struct {
	head []byte
	io.ReadCloser
}

// Read gives the head, and then the rest.
func (p *peeked) Read(b []byte) (int, error) {
	if len(p.head) == 0 {
		return p.ReadCloser.Read(b)
	}
	n := copy(b, p.head)
	p.head = p.head[n:]
	return n, nil
}

// Skip passes over the next n bytes.
func (p *peeked) Skip(n int64) error {
	passed := min(n, int64(len(p.head)))
	p.head = p.head[passed:]
	return skip(p.ReadCloser, n-passed)
}

// Skip passes over the next n bytes, without reading them where that can be done.
func (s *Source) Skip(n int64) error {
	if err := skip(s.ReadCloser, n); err != nil {
		return &ReadError{fmt.Errorf("cannot read %s: %w", s.Name, err)}
	}
	return nil
}

func skip(r io.Reader, n int64) error {
	switch r := r.(type) {
	case *os.File:
		_, err := r.Seek(n, io.SeekCurrent)
		return plainCause(err)
	case interface{ Skip(int64) error }:
		return r.Skip(n)
	}
	return discard(r, n)
}

func discard(r io.Reader, n int64) error {
	_, err := io.CopyN(io.Discard, r, n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
