package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/update"
)

// newReporter shows an operation on standard error: with a live bar on a terminal,
// as plain lines elsewhere.
func (p *program) newReporter() update.Reporter {
	f, isFile := p.stderr.(*os.File)
	return &reporter{
		out: p.stderr, quiet: p.flags.quiet, observe: p.observe,
		terminal: isFile && term.IsTerminal(int(f.Fd())),
	}
}

// reporter is an update.Reporter.
type reporter struct {
	out      io.Writer
	quiet    bool
	terminal bool
	observe  func(generation.OperationKind, update.Step, update.Phase)
	bar      *progressbar.ProgressBar
}

// Step prints what is about to be done.
func (r *reporter) Step(kind generation.OperationKind, step update.Step, phase update.Phase) {
	if r.observe != nil {
		r.observe(kind, step, phase)
	}
	if phase == update.Acted && r.bar != nil {
		_ = r.bar.Finish()
		r.bar = nil
	}
	if phase == update.Intended && !r.quiet {
		fmt.Fprintf(r.out, "%s: %s\n", kind, step.Describe())
	}
}

// Progress moves the bar; elsewhere than on a terminal the steps say enough.
func (r *reporter) Progress(read, total int64) {
	if r.quiet || !r.terminal {
		return
	}
	if r.bar == nil {
		r.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(r.out), progressbar.OptionShowBytes(true),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30))
	}
	_ = r.bar.Set64(read)
}

// Message prints a sentence.
func (r *reporter) Message(text string) {
	if !r.quiet {
		fmt.Fprintln(r.out, text)
	}
}
