package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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
			s, err := openWeb(t.Context(), server.URL, 100*time.Millisecond)
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
