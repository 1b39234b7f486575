package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/trebuchet-update/tbupdate/core/bundle"
	"github.com/trebuchet-update/tbupdate/core/delta"
	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// Exit statuses, as far as this program has them.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
	exitNoRoom  = 4
)

// failure is an error that the user reads: one sentence about what was being done,
// to what and why it stopped, and one about the state that this leaves. Without an
// err it only carries a status, for an answer that is no error.
type failure struct {
	err   error
	state string
	code  int
}

func (f *failure) Error() string {
	switch {
	case f.err == nil:
		return ""
	case f.state == "":
		return f.err.Error()
	}
	return f.err.Error() + "\n" + f.state
}

func (f *failure) Unwrap() error { return f.err }

// fail makes a failure; its status follows from the error.
func fail(err error, state string) error {
	return &failure{err: err, state: state, code: statusOf(err)}
}

// finish gives a failure as it is, since that says all there is to say, and makes one of any
// other error.
func finish(err error, doing func(error) error, state string) error {
	if said := (*failure)(nil); err == nil || errors.As(err, &said) {
		return err
	}
	return fail(doing(err), state)
}

// failOutput makes a failure of an error in printing the result, if there is one.
func failOutput(err error) error {
	if err == nil {
		return nil
	}
	return fail(fmt.Errorf("cannot print the result: %w", err), "")
}

// usage makes a failure for wrong arguments.
func usage(format string, args ...any) error {
	return &failure{err: fmt.Errorf(format, args...), code: exitUsage}
}

// statusOf chooses the exit status for an error.
func statusOf(err error) int {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return exitNoRoom
	case refusesStream(err):
		return exitRefused
	}
	return exitFailed
}

// refusesStream reports whether it is the stream's fault, or that the tree is not
// the one that the stream is for.
func refusesStream(err error) bool {
	for _, e := range []error{tbdiff.ErrMalformed, tbdiff.ErrTruncated, tbdiff.ErrUnsafe, rootfs.ErrOriginMismatch, bundle.ErrMalformed, bundle.ErrUntrusted} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// sentence words the error for people where the library's words would not do.
func sentence(err error) error {
	var unsupported *delta.UnsupportedError
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.As(err, &unsupported):
		return unsupported
	}
	return err
}
