package qemu

import "sync"

// tail keeps the end of what is written to it: the last words of a program.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// tailSize is enough for QEMU's complaints.
const tailSize = 4096

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
