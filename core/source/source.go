// Package source opens what an update is read from: a file, standard input or a
// web address. It reads a stream once, from front to end; what is in it is the
// business of others.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Source is an opened stream of bytes.
type Source struct {
	io.ReadCloser
	// Name is what the operator called it, without any password.
	Name string
	// Size is the number of bytes that will come, -1 when that is not known.
	Size int64
	// Again opens the same once more, from its front; nil where it comes only once.
	Again func(ctx context.Context) (*Source, error)
}

// ReadError says that the source could not be read, for what it wraps.
type ReadError struct{ error }

// Unwrap gives what happened.
func (e *ReadError) Unwrap() error { return e.error }

// Read reads on. Errors are a *ReadError, but for io.EOF.
func (s *Source) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	return n, s.readError(err)
}

// readError says of an error whose it is.
func (s *Source) readError(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if file := (*fs.PathError)(nil); errors.As(err, &file) {
		err = fmt.Errorf("cannot read %s: %w", s.Name, file.Err)
	}
	return &ReadError{err}
}

// StandardInput is the SOURCE that means standard input.
const StandardInput = "-"

// Open opens name: a path, "-" for stdin, or an http or https address. The
// context bounds the opening and, for a web address, the reading.
func Open(ctx context.Context, name string, stdin io.Reader) (*Source, error) {
	switch {
	case name == StandardInput:
		return &Source{ReadCloser: io.NopCloser(&cancellable{ctx, stdin}), Name: "standard input", Size: -1}, nil
	case strings.HasPrefix(name, "http://"), strings.HasPrefix(name, "https://"):
		s, err := openWeb(ctx, name, usualPatience)
		if err != nil {
			return nil, err
		}
		return repeatable(s, name), nil
	}
	s, err := openFile(ctx, name)
	if err != nil || s.Size < 0 {
		return s, err
	}
	return repeatable(s, name), nil
}

// repeatable lets a source be opened again by its name.
func repeatable(s *Source, name string) *Source {
	s.Again = func(ctx context.Context) (*Source, error) { return Open(ctx, name, nil) }
	return s
}

func openFile(ctx context.Context, name string) (*Source, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", name, plainCause(err))
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot open %s: %w", name, plainCause(err))
	}
	if info.IsDir() {
		f.Close()
		return nil, fmt.Errorf("cannot open %s: it is a directory", name)
	}
	if info.Mode().IsRegular() {
		return &Source{ReadCloser: f, Name: name, Size: info.Size()}, nil
	}
	return &Source{ReadCloser: &cancellableCloser{cancellable{ctx, f}, f}, Name: name, Size: -1}, nil
}

// plainCause drops the path that the os package puts into its errors, since the
// caller's sentence already has it.
func plainCause(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// cancellable makes reading end with the context. A read that blocks (a pipe with
// nobody writing) goes on in the background until its data comes or the process
// ends; nobody looks at it any more.
type cancellable struct {
	ctx    context.Context
	reader io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	type result struct {
		n   int
		err error
	}
	// The goroutine reads into a buffer of its own: p must not be written to
	// after this method has returned.
	buffer := make([]byte, min(len(p), 1<<20))
	done := make(chan result, 1)
	go func() {
		n, err := c.reader.Read(buffer)
		done <- result{n, err}
	}()
	select {
	case <-c.ctx.Done():
		return 0, c.ctx.Err()
	case r := <-done:
		return copy(p, buffer[:r.n]), r.err
	}
}

type cancellableCloser struct {
	cancellable
	io.Closer
}
