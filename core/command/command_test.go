package command

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestOutput(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		arguments []string
		output    string
		complaint string
	}{
		{"what is printed", []string{"-c", "echo out; echo err >&2"}, "out\n", ""},
		{"what is complained about", []string{"-c", "echo out; echo one >&2; echo two >&2; exit 3"}, "out\n", "exit status 3: one; two"},
		{"the C locale", []string{"-c", "echo $LC_ALL"}, "C\n", ""},
	} {
		output, err := Output(t.Context(), "sh", c.arguments...)
		if string(output) != c.output || (err == nil) != (c.complaint == "") || err != nil && !strings.HasSuffix(err.Error(), c.complaint) {
			t.Errorf("%s: %q, %v", c.name, output, err)
		}
	}
	if _, err := Output(t.Context(), "no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("a program that is not there: %v", err)
	}
}

// TestOutputEndsInTime holds for a program that hangs, and for one that leaves
// something behind which holds its output open.
func TestOutputEndsInTime(t *testing.T) {
	t.Parallel()
	for script, fails := range map[string]bool{"exec sleep 15": true, "sleep 15 & exit 0": false} {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, errors.New("the time is up"))
		began := time.Now()
		_, err := Output(ctx, "sh", "-c", script)
		cancel()
		if took := time.Since(began); (err != nil) != fails || took > 12*time.Second {
			t.Errorf("%q: %v after %s", script, err, took)
		}
	}
}
