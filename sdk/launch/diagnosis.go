package launch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	plugin "github.com/hashicorp/go-plugin"

	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

// StartError says why a plugin could not be started.
type StartError struct {
	// Problem says what the plugin did, for a sentence that begins with its
	// name: "exited with exit status 3 before it was served".
	Problem error
	// LastLines is what it last wrote on standard error.
	LastLines []string
}

// Error gives the problem.
func (e *StartError) Error() string { return e.Problem.Error() }

// Unwrap gives the problem.
func (e *StartError) Unwrap() error { return e.Problem }

// diagnose says in our words what kept the plugin from being served. err is
// go-plugin's, whose words are for programmers.
func (c *child) diagnose(ctx context.Context, err error, timeout time.Duration) error {
	line := c.firstLine.text()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("was stopped while it started: %w", context.Cause(ctx))
	case c.pid == 0:
		var path *fs.PathError // its path is the descriptor's, which says nothing
		if errors.As(err, &path) {
			err = path.Err
		}
		return fmt.Errorf("cannot be executed: %w", err)
	case line == "" && c.wasKilled():
		return fmt.Errorf("was not ready within %s", timeout)
	case line == "":
		return fmt.Errorf("exited before it was ready (%s)", c.status)
	}
	return diagnoseLine(line, err)
}

// diagnoseLine explains the first line of a plugin's output: either a handshake
// that does not suit, or something else.
func diagnoseLine(line string, err error) error {
	fields := strings.Split(line, "|")
	if len(fields) < 4 {
		return fmt.Errorf("printed %q on standard output before it was served; a plugin must print nothing there", line)
	}
	switch {
	case fields[0] != fmt.Sprint(plugin.CoreProtocolVersion):
		return fmt.Errorf("speaks version %s of go-plugin's protocol; this host speaks %d", fields[0], plugin.CoreProtocolVersion)
	case fields[1] != fmt.Sprint(wire.Version):
		return fmt.Errorf("speaks version %s of the plugin contract; this host speaks %d", fields[1], wire.Version)
	case len(fields) < 5 || fields[4] != string(plugin.ProtocolGRPC):
		return fmt.Errorf("does not speak gRPC; its handshake was %q", line)
	}
	return fmt.Errorf("could not be connected to: %w", err)
}
