package qemu

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Console is what the machine printed on its first serial port, over all of its
// starts, with what happened to the machine in between as lines of their own.
type Console struct {
	mu    sync.Mutex
	lines []Line
	// grown is closed and made anew with each line.
	grown chan struct{}
	echo  io.Writer
}

// Line is a line of the console.
type Line struct {
	Time time.Time // when its first byte came
	Text string
	// Machine marks what the guest did not print: "power on", "RESET", ….
	Machine bool
}

func newConsole() *Console { return &Console{grown: make(chan struct{})} }

// String shows the line with its time.
func (l Line) String() string {
	if l.Machine {
		return l.Time.Format("15:04:05.000") + " ---- " + l.Text + " ----"
	}
	return l.Time.Format("15:04:05.000") + " " + l.Text
}

// Echo sends a copy of every line to come to w. nil ends it.
func (c *Console) Echo(w io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.echo = w
}

// escapes are what a terminal would not show: control sequences (ECMA-48) and
// what is left of carriage returns.
var escapes = regexp.MustCompile(`\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1bc|[\r\x00\x07\x08]`)

// read takes what the guest prints until QEMU ends.
func (c *Console) read(from io.Reader) {
	r := bufio.NewReader(from)
	for {
		if _, err := r.Peek(1); err != nil {
			return
		}
		began := time.Now()
		text, err := r.ReadString('\n')
		text = escapes.ReplaceAllString(strings.TrimRight(text, "\r\n"), "")
		c.add(Line{Time: began, Text: text})
		if err != nil {
			return
		}
	}
}

// note adds a line about the machine.
func (c *Console) note(text string) { c.add(Line{Time: time.Now(), Text: text, Machine: true}) }

func (c *Console) add(line Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, line)
	if c.echo != nil {
		fmt.Fprintln(c.echo, line)
	}
	close(c.grown)
	c.grown = make(chan struct{})
}

// Position is where the console ends now, for Wait.
func (c *Console) Position() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lines)
}

// Lines gives the lines from position on.
func (c *Console) Lines(position int) []Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Line(nil), c.lines[position:]...)
}

// Last shows the last lines.
func (c *Console) Last(count int) string {
	lines := c.Lines(0)
	var text strings.Builder
	for _, line := range lines[max(0, len(lines)-count):] {
		fmt.Fprintf(&text, "  %s\n", line)
	}
	return text.String()
}

// Wait gives the first line from position on that matches the pattern, and the position
// behind it. It waits for one until the context ends.
func (c *Console) Wait(ctx context.Context, position int, pattern *regexp.Regexp) (Line, int, error) {
	for {
		c.mu.Lock()
		for ; position < len(c.lines); position++ {
			if line := c.lines[position]; pattern.MatchString(line.Text) {
				c.mu.Unlock()
				return line, position + 1, nil
			}
		}
		grown := c.grown
		c.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
			return Line{}, position, fmt.Errorf("cannot find %q on the console: %w; its end:\n%s", pattern, ctx.Err(), c.Last(20))
		}
	}
}
