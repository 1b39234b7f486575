package tbdiff

import (
	"errors"
	"fmt"
)

// What may be wrong with a stream, for errors.Is.
var (
	// ErrMalformed: the bytes are not a stream of this version.
	ErrMalformed = errors.New("malformed stream")
	// ErrTruncated: the input ended before UPDATE.
	ErrTruncated = errors.New("truncated stream")
	// ErrUnsafe: the stream tries to reach something outside the tree, by a
	// name, by leaving the top directory, or through a symbolic link or a mount
	// point that stands in the tree.
	ErrUnsafe = errors.New("unsafe stream")
)

// StreamError says at which command of a stream something went wrong. Every error
// of a Reader is one.
type StreamError struct {
	Number int    // of the command, counted from 1, which is IDENTIFY
	Opcode Opcode // of the command
	Offset int64  // of the command's opcode, in bytes from the start of the stream
	Path   string // of the entry concerned, within the tree; "" where there is none
	Err    error
}

// Error gives the text for people. The path is quoted, since it may hold anything.
func (e *StreamError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("command %d (%s at byte %d): %v", e.Number, e.Opcode, e.Offset, e.Err)
	}
	return fmt.Sprintf("command %d (%s at byte %d) for %q: %v", e.Number, e.Opcode, e.Offset, e.Path, e.Err)
}

// Unwrap gives the cause.
func (e *StreamError) Unwrap() error { return e.Err }
