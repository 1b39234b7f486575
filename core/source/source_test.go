package source

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stream")
	if err := os.WriteFile(file, []byte("payload"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(file))))
	defer server.Close()
	for _, c := range []struct {
		name, source string
		size         int64
	}{
		{"file", file, 7},
		{"standard input", "-", -1},
		{"web", server.URL + "/stream", 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Open(t.Context(), c.source, strings.NewReader("payload"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			content, err := io.ReadAll(s)
			if err != nil || string(content) != "payload" || s.Size != c.size {
				t.Errorf("got %q, size %d, %v; want size %d", content, s.Size, err, c.size)
			}
			if s.Again == nil {
				if c.size >= 0 {
					t.Error("it cannot be opened again")
				}
				return
			}
			again, err := s.Again(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if content, err := io.ReadAll(again); err != nil || string(content) != "payload" {
				t.Errorf("opened again, it has %q, %v", content, err)
			}
		})
	}
}

func TestOpenComplains(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	directory := t.TempDir()
	for _, c := range []struct{ name, source, want string }{
		{"missing file", directory + "/none", "cannot open " + directory + "/none: no such file or directory"},
		{"directory", directory, "cannot open " + directory + ": it is a directory"},
		{"web", server.URL + "/none", "cannot open " + server.URL + "/none: the server answered 404 Not Found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Open(t.Context(), c.source, nil); err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestPasswordsAreNotShown(t *testing.T) {
	_, err := Open(t.Context(), "http://user:secret@127.0.0.1:1/x", nil)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

func TestCancelEndsABlockedRead(t *testing.T) {
	reader, writer := io.Pipe()
	defer writer.Close()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Open(ctx, "-", reader)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := s.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
