package launch

import (
	"io"
	"slices"
	"strings"
	"sync"
)

// tail passes on what is written to it, one write at a time, and remembers the last
// lines.
type tail struct {
	next io.Writer
	mu   sync.Mutex
	last []string
	line strings.Builder // the line that is not complete
}

const (
	tailLines = 20
	tailWidth = 400 // bytes of a line that are kept
)

// Write implements io.Writer; it never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = t.next.Write(p) // a log that cannot be written must not stop a plugin
	for _, b := range p {
		switch {
		case b == '\n':
			t.push()
		case t.line.Len() < tailWidth:
			t.line.WriteByte(b)
		}
	}
	return len(p), nil
}

func (t *tail) push() {
	if len(t.last) == tailLines {
		t.last = slices.Delete(t.last, 0, 1)
	}
	t.last = append(t.last, strings.ToValidUTF8(t.line.String(), "\uFFFD"))
	t.line.Reset()
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := slices.Clone(t.last)
	if t.line.Len() > 0 {
		lines = append(lines, t.line.String())
	}
	return lines
}
