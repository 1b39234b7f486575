package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// Peek gives the first bytes, n or as many as there are, and leaves them to be read. It is
// called before anything was read.
func (s *Source) Peek(n int) ([]byte, error) {
	if f, ok := s.ReadCloser.(*os.File); ok {
		head := make([]byte, n)
		got, err := f.ReadAt(head, 0)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return head[:got], err
	}
	head := make([]byte, n)
	got, err := io.ReadFull(s.ReadCloser, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	s.ReadCloser = &prefixed{Reader: io.MultiReader(bytes.NewReader(head[:got]), s.ReadCloser), Closer: s.ReadCloser}
	return head[:got], err
}

// prefixed is a source of which some was read already.
type prefixed struct {
	io.Reader
	io.Closer
}

// Skip passes over the next n bytes, without reading them where that can be done.
func (s *Source) Skip(n int64) error {
	if f, ok := s.ReadCloser.(*os.File); ok {
		if _, err := f.Seek(n, io.SeekCurrent); err != nil {
			return fmt.Errorf("cannot read %s: %w", s.Name, plainCause(err))
		}
		return nil
	}
	if _, err := io.CopyN(io.Discard, s.ReadCloser, n); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("cannot read %s: %w", s.Name, err)
	}
	return nil
}
