package pluginhost

import (
	"fmt"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// Error is a failure of a plugin as a program: it is missing, not trusted, does
// not start, died, hangs, or answers nonsense. What a working plugin reports is
// an *sdk.Error instead.
type Error struct {
	Kind    sdk.Kind
	Name    string
	Path    string // "" when it was not found
	Problem error  // for a sentence that begins with the plugin: "exited …"
	// Log is what the plugin last wrote on standard error, oldest line first.
	Log []string
}

// Error is one sentence: which plugin, what is wrong, and the most telling line
// of its log.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plugin %s-%s", e.Kind, e.Name)
	if e.Path != "" {
		fmt.Fprintf(&b, " (%s)", e.Path)
	}
	fmt.Fprintf(&b, " %v", e.Problem)
	if line := tellingLine(e.Log); line != "" {
		fmt.Fprintf(&b, "; it wrote: %s", line)
	}
	return b.String()
}

// Unwrap gives the problem.
func (e *Error) Unwrap() error { return e.Problem }

// tellingLine gives the line that says most: where a Go program crashed, the
// line before the stacks; otherwise the last one that is not empty.
func tellingLine(log []string) string {
	last := ""
	for _, line := range log {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return line
		}
		if strings.TrimSpace(line) != "" {
			last = line
		}
	}
	return last
}
