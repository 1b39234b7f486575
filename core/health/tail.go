package health

import (
	"strings"
	"sync"
)

// outputLimit is how much of a check's output is kept: its end, in bytes.
const outputLimit = 64 << 10

// tail keeps the end of what is written to it.
type tail struct {
	mutex   sync.Mutex
	content []byte
	cut     bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.content = append(t.content, p...)
	// Cutting only what is twice too long moves each byte once.
	if len(t.content) > 2*outputLimit {
		t.content = append(t.content[:0], t.content[len(t.content)-outputLimit:]...)
		t.cut = true
	}
	return len(p), nil
}

// String gives what was kept, as valid UTF-8.
func (t *tail) String() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	content, cut := t.content, t.cut
	if len(content) > outputLimit {
		content, cut = content[len(content)-outputLimit:], true
	}
	text := strings.ToValidUTF8(string(content), "?")
	if cut {
		text = "…" + text
	}
	return text
}
