package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// serveHalf promises ten bytes and sends five; then it hangs up, or stalls until the
// test is over.
func serveHalf(t *testing.T, stall bool, header http.Header) *httptest.Server {
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		_, _ = io.WriteString(w, "01234")
		_ = http.NewResponseController(w).Flush()
		if stall {
			<-over
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(over) })
	return server
}

func TestBrokenDownload(t *testing.T) {
	sized := http.Header{"Content-Length": {"10"}}
	for _, c := range []struct {
		name   string
		stall  bool
		header http.Header
		want   string
	}{
		{"server hangs up", false, sized, "after 5 of 10 bytes: the connection was lost"},
		{"server hangs up, size unknown", false, nil, "after 5 bytes: the connection was lost"},
		{"server stalls", true, sized, "after 5 of 10 bytes: nothing came for 100ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := serveHalf(t, c.stall, c.header)
			s, err := openWeb(t.Context(), server.URL, patience{stall: 100 * time.Millisecond, pause: time.Millisecond, attempts: 3})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			content, err := io.ReadAll(s)
			if want := fmt.Sprintf("cannot read %s %s", server.URL, c.want); string(content) != "01234" || err == nil || err.Error() != want {
				t.Errorf("got  %q, %v\nwant %s", content, err, want)
			}
			if errors.Is(err, io.ErrUnexpectedEOF) {
				t.Error("it looks like a stream that was cut short")
			}
		})
	}
}

func TestCancelEndsADownload(t *testing.T) {
	server := serveHalf(t, true, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	s, err := Open(ctx, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	time.AfterFunc(10*time.Millisecond, func() { cancel(errors.New("terminated signal received")) })
	if _, err := io.ReadAll(s); err == nil || !strings.Contains(err.Error(), "terminated signal received") {
		t.Errorf("got %v", err)
	}
}

// unreliable is a server that hangs up after every few bytes. It can be told to become
// another one.
type unreliable struct {
	content  []byte
	tag      string
	dead     bool
	mu       sync.Mutex
	requests []string // their Range headers
}

func (u *unreliable) become(tag string, dead bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tag, u.dead = tag, dead
}

func (u *unreliable) ranges() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.requests)
}

func (u *unreliable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.requests = append(u.requests, r.Header.Get("Range"))
	tag, dead := u.tag, u.dead
	u.mu.Unlock()
	if dead {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("ETag", tag)
	http.ServeContent(&hangingUp{ResponseWriter: w, left: 100}, r, "", time.Time{}, bytes.NewReader(u.content))
}

// hangingUp ends a connection after some bytes of its body.
type hangingUp struct {
	http.ResponseWriter
	left int
}

func (h *hangingUp) Write(b []byte) (int, error) {
	n := min(len(b), h.left)
	h.left -= n
	_, _ = h.ResponseWriter.Write(b[:n])
	if n < len(b) {
		_ = http.NewResponseController(h.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

func TestDownloadGoesOn(t *testing.T) {
	content := make([]byte, 1050)
	for i := range content {
		content[i] = byte(i * 7)
	}
	open := func(t *testing.T, u *unreliable) *Source {
		t.Helper()
		server := httptest.NewServer(u)
		t.Cleanup(server.Close)
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		s, err := openWeb(t.Context(), server.URL, patience{stall: 10 * time.Second, pause: time.Millisecond, attempts: 3})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	t.Run("to the end", func(t *testing.T) {
		u := &unreliable{content: content, tag: `"1"`}
		got, err := io.ReadAll(open(t, u))
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if ranges := u.ranges(); len(ranges) != 11 || ranges[10] != "bytes=1000-" {
			t.Errorf("requests: %q", ranges)
		}
	})
	t.Run("another file", func(t *testing.T) {
		u := &unreliable{content: content, tag: `"1"`}
		s := open(t, u)
		if _, err := io.ReadFull(s, make([]byte, 50)); err != nil {
			t.Fatal(err)
		}
		u.become(`"2"`, false)
		if _, err := io.ReadAll(s); !errors.Is(err, errChanged) || !strings.Contains(err.Error(), "after 100 of 1050 bytes") {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("weak tag", func(t *testing.T) {
		if _, err := io.ReadAll(open(t, &unreliable{content: content, tag: `W/"1"`})); !errors.Is(err, errLost) {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("no server any more", func(t *testing.T) {
		u := &unreliable{content: content, tag: `"1"`}
		s := open(t, u)
		u.become(u.tag, true)
		if _, err := io.ReadAll(s); err == nil || !strings.Contains(err.Error(), "after 100 of 1050 bytes") {
			t.Errorf("the error is %v", err)
		}
		// The transport itself repeats a request on a connection that was kept.
		if ranges := u.ranges(); len(ranges) < 4 {
			t.Errorf("requests: %q", ranges)
		}
	})
	t.Run("skipping", func(t *testing.T) {
		large := append(make([]byte, 1<<20), content...)
		u := &unreliable{content: large, tag: `"1"`}
		s := open(t, u)
		if head, err := s.Peek(8); err != nil || !bytes.Equal(head, make([]byte, 8)) {
			t.Errorf("the head is %q, %v", head, err)
		}
		if err := s.Skip(1 << 20); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if ranges := u.ranges(); len(ranges) != 12 || ranges[1] != "bytes=1048576-" {
			t.Errorf("requests: %q", ranges)
		}
	})
}

func TestPeekAndSkip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, StandardInput} {
		s, err := Open(t.Context(), name, strings.NewReader("0123456789"))
		if err != nil {
			t.Fatal(err)
		}
		if head, err := s.Peek(4); err != nil || string(head) != "0123" {
			t.Errorf("%s: the head is %q, %v", name, head, err)
		}
		if err := s.Skip(6); err != nil {
			t.Error(err)
		}
		if rest, err := io.ReadAll(s); err != nil || string(rest) != "6789" {
			t.Errorf("%s: the rest is %q, %v", name, rest, err)
		}
		s.Close()
	}
}
