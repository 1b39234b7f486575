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
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Source is an opened stream of bytes.
type Source struct {
	io.ReadCloser
	// Name is what the operator called it, without any password.
	Name string
	// Size is the number of bytes that will come, -1 when that is not known.
	Size int64
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
		return openWeb(ctx, name, stallTimeout)
	}
	return openFile(ctx, name)
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

// Limits of a web download. There is none on the whole of it: a large bundle over
// a thin line takes its time. But one on which nothing moves must not hold the
// machine's updates up for ever.
const (
	connectTimeout = 30 * time.Second
	headerTimeout  = 60 * time.Second
	stallTimeout   = 2 * time.Minute
)

func openWeb(ctx context.Context, address string, stall time.Duration) (_ *Source, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer func() {
		if err != nil {
			cancel(nil)
		}
	}()
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", address, err)
	}
	name := parsed.Redacted()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", name, err)
	}
	client := &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: headerTimeout,
		DisableCompression:    true, // the size must be that of the bytes that are read
	}}
	response, err := client.Do(request)
	if err != nil {
		var urlError *url.Error
		if errors.As(err, &urlError) {
			err = urlError.Err
		}
		return nil, fmt.Errorf("cannot open %s: %w", name, err)
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("cannot open %s: the server answered %s", name, response.Status)
	}
	body := &download{ReadCloser: response.Body, ctx: ctx, cancel: cancel, name: name, size: response.ContentLength, stall: stall}
	return &Source{ReadCloser: body, Name: name, Size: response.ContentLength}, nil
}

// download is the body of a web answer. Its errors are those of the transport: a
// connection that is lost must not look like a stream that ends too early.
type download struct {
	io.ReadCloser
	ctx        context.Context
	cancel     context.CancelCauseFunc
	name       string
	read, size int64 // size is -1 when it is not known
	stall      time.Duration
}

// Read reads what has come, and gives up when nothing comes for too long.
func (d *download) Read(p []byte) (int, error) {
	timer := time.AfterFunc(d.stall, func() { d.cancel(fmt.Errorf("nothing came for %v", d.stall)) })
	n, err := d.ReadCloser.Read(p)
	timer.Stop()
	d.read += int64(n)
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case d.ctx.Err() != nil:
		err = context.Cause(d.ctx)
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("the connection was lost")
	}
	if d.size >= 0 {
		return n, fmt.Errorf("cannot read %s after %d of %d bytes: %w", d.name, d.read, d.size, err)
	}
	return n, fmt.Errorf("cannot read %s after %d bytes: %w", d.name, d.read, err)
}

// Close ends the transfer.
func (d *download) Close() error {
	d.cancel(nil)
	return d.ReadCloser.Close()
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
