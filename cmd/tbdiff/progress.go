package main

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows a person at a terminal that work goes on. Elsewhere it is silent.
type progress struct {
	bar  *progressbar.ProgressBar // nil when nobody watches
	next time.Time                // when to draw again
}

// newProgress begins to count things, which happen by doing something.
func newProgress(w io.Writer, doing, things string) *progress {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &progress{}
	}
	return &progress{bar: progressbar.NewOptions(-1, progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(doing), progressbar.OptionShowCount(),
		progressbar.OptionSetItsString(things), progressbar.OptionClearOnFinish())}
}

// report says how many there are so far. It draws a few times a second.
func (p *progress) report(count int) {
	if p.bar == nil {
		return
	}
	if now := time.Now(); now.After(p.next) {
		p.next = now.Add(100 * time.Millisecond)
		// A terminal that cannot be drawn on is no reason to fail.
		_ = p.bar.Set(count)
	}
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
