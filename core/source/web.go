package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// patience says how long a download is waited for. There is no limit on the whole of it: a
// large bundle over a thin line takes its time. But one on which nothing moves must not
// hold the machine's updates up for ever.
type patience struct {
	stall    time.Duration // that nothing may come for
	pause    time.Duration // before the first attempt to go on; each further one waits twice as long
	attempts int           // to go on that bring nothing, one after the other
}

var usualPatience = patience{stall: 2 * time.Minute, pause: time.Second, attempts: 6}

const (
	connectTimeout = 30 * time.Second
	headerTimeout  = 60 * time.Second
)

// download is a file on a web server. A connection that is lost is made again, and goes on
// where it was (RFC 9110, 14: range requests), as long as the server says that it is the
// same file still.
type download struct {
	ctx      context.Context
	client   *http.Client
	address  string
	name     string // the address without a password
	patience patience

	body       io.ReadCloser           // of the connection at hand, nil between two
	cancel     context.CancelCauseFunc // ends it
	connection context.Context
	read, size int64  // size is -1 when it is not known
	validator  string // what tells this file from another one in its place; "" for nothing
	fruitless  int    // attempts to go on that brought nothing
}

func openWeb(ctx context.Context, address string, p patience) (*Source, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", address, err)
	}
	d := &download{ctx: ctx, address: address, name: parsed.Redacted(), patience: p, size: -1, client: &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: headerTimeout,
		DisableCompression:    true, // the size must be that of the bytes that are read
	}}}
	response, err := d.connect(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", d.name, err)
	}
	if response.StatusCode != http.StatusOK {
		d.disconnect()
		return nil, fmt.Errorf("cannot open %s: the server answered %s", d.name, response.Status)
	}
	d.size, d.validator = response.ContentLength, validatorOf(response.Header)
	return &Source{ReadCloser: d, Name: d.name, Size: d.size}, nil
}

// validatorOf gives what a request to go on names the file by: a strong entity tag, or else
// its date (RFC 9110, 13.1.5). A server that does ranges has one of them.
func validatorOf(header http.Header) string {
	if tag := header.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return header.Get("Last-Modified")
}

// connect makes a connection.
func (d *download) connect(header http.Header) (*http.Response, error) {
	d.connection, d.cancel = context.WithCancelCause(d.ctx)
	request, err := http.NewRequestWithContext(d.connection, http.MethodGet, d.address, nil)
	if err == nil {
		for name, values := range header {
			request.Header[name] = values
		}
		var response *http.Response
		if response, err = d.client.Do(request); err == nil {
			d.body = response.Body
			return response, nil
		}
	}
	d.cancel(nil)
	var urlError *url.Error
	if errors.As(err, &urlError) {
		err = urlError.Err
	}
	return nil, err
}

func (d *download) disconnect() {
	if d.body != nil {
		d.cancel(nil)
		d.body.Close()
		d.body = nil
	}
}

// Read reads what has come. Its errors are those of the transport: a connection that is
// lost for good must not look like a stream that ends too early.
func (d *download) Read(p []byte) (int, error) {
	for {
		n, err := d.readOnce(p)
		d.read += int64(n)
		if n > 0 {
			d.fruitless = 0
		}
		switch {
		case err == nil, errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && (d.size < 0 || d.read == d.size):
			return n, err
		case n > 0:
			d.disconnect()
			return n, nil // the next call goes on
		}
		d.disconnect()
		if again := d.again(err); again != nil {
			return 0, d.failed(again)
		}
	}
}

// readOnce reads from the connection at hand, or makes one.
func (d *download) readOnce(p []byte) (int, error) {
	if d.body == nil {
		if err := d.goOn(); err != nil {
			return 0, err
		}
	}
	connection, cancel := d.connection, d.cancel
	timer := time.AfterFunc(d.patience.stall, func() { cancel(fmt.Errorf("nothing came for %v", d.patience.stall)) })
	n, err := d.body.Read(p)
	timer.Stop()
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case connection.Err() != nil:
		return n, context.Cause(connection)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, errLost
	}
	return n, err
}

var errLost = errors.New("the connection was lost")

// errChanged ends a download for good.
var errChanged = errors.New("the connection was lost, and the server has another file now, or does not send parts of it")

// goOn asks for the rest of the file.
func (d *download) goOn() error {
	response, err := d.connect(http.Header{
		"Range": {fmt.Sprintf("bytes=%d-", d.read)}, "If-Range": {d.validator},
	})
	if err != nil {
		return err
	}
	want := fmt.Sprintf("bytes %d-%d/%d", d.read, d.size-1, d.size)
	switch {
	case response.StatusCode == http.StatusPartialContent && response.Header.Get("Content-Range") == want:
		return nil
	case response.StatusCode >= 500:
		err = fmt.Errorf("the server answered %s", response.Status)
	default:
		err = errChanged
	}
	d.disconnect()
	return err
}

// again waits before the next attempt to go on after err, and gives the error where there
// is to be none.
func (d *download) again(err error) error {
	switch {
	case d.ctx.Err() != nil:
		return context.Cause(d.ctx)
	case d.validator == "" || d.size < 0 || errors.Is(err, errChanged) || d.fruitless == d.patience.attempts:
		return err
	}
	d.fruitless++
	select {
	case <-d.ctx.Done():
		return context.Cause(d.ctx)
	case <-time.After(d.patience.pause << (d.fruitless - 1)):
		return nil
	}
}

func (d *download) failed(err error) error {
	if err == io.EOF {
		err = errLost
	}
	if d.size >= 0 {
		return fmt.Errorf("cannot read %s after %d of %d bytes: %w", d.name, d.read, d.size, err)
	}
	return fmt.Errorf("cannot read %s after %d bytes: %w", d.name, d.read, err)
}

// skipFrom is from how many bytes on a new request is cheaper than reading on.
const skipFrom = 256 << 10

// Skip passes over the next n bytes, without fetching them where the server sends parts.
func (d *download) Skip(n int64) error {
	if n < skipFrom || d.validator == "" || d.size < 0 || d.read+n >= d.size {
		return discard(d, n)
	}
	d.disconnect()
	d.read += n
	return nil
}

// Close ends the transfer.
func (d *download) Close() error {
	d.disconnect()
	d.client.CloseIdleConnections()
	return nil
}
