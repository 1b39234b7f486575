package update

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/trebuchet-update/tbupdate/core/bundle"
	"github.com/trebuchet-update/tbupdate/core/packed"
	"github.com/trebuchet-update/tbupdate/core/pluginhost"
	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// Class says what kind of failure it is; the command line turns it into an exit
// code.
type Class int

// The classes, in the order of the exit codes of the command line.
const (
	Failed     Class = iota + 1 // the machine is as before
	Usage                       // wrong parameters or configuration
	Refused                     // the bundle is not for this machine, or not to be trusted
	NoRoom                      // on the volume or in /boot
	BadPlugin                   // a plugin is missing, died, hung or lied
	Unclear                     // the state needs recover, or cannot be judged
	InProgress                  // another update is in progress
)

// Error is a failure as the operator sees it.
type Error struct {
	Class Class
	// Err is one sentence: what was being done, to what, why it stopped.
	Err error
	// State is one sentence: what state the machine is in now.
	State string
}

// refusal makes an Error whose State the caller adds.
func refusal(class Class, format string, arguments ...any) *Error {
	return &Error{Class: class, Err: fmt.Errorf(format, arguments...)}
}

// Error gives the first sentence.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Sentences about the machine's state.
const (
	nothingChanged = "Nothing was changed."
	undone         = "The update was undone; the machine is as before."
	rollbackUndone = "The roll-back was undone; the machine is as before."
	confirmUndone  = "The generation is on trial still; the machine is as before."
	journalDamaged = `Nothing was changed, and nothing is lost. The journal is tbupdate/journal.json on the volume: put it right, or move it away and run "tbupdate init", which takes the running system in anew.`
	needsRecover   = `It could neither be finished nor undone. The next boot starts the old version or the new one, each whole; run "tbupdate recover".`
)

// classify finds the class of an error that came from below.
func classify(err error) Class {
	var e *Error
	var plugin *pluginhost.Error
	switch {
	case errors.As(err, &e):
		return e.Class
	case errors.As(err, &plugin):
		return BadPlugin
	case errors.Is(err, sdk.ErrNoSpace), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return NoRoom
	case errors.Is(err, tbdiff.ErrMalformed), errors.Is(err, tbdiff.ErrTruncated), errors.Is(err, tbdiff.ErrUnsafe),
		errors.Is(err, rootfs.ErrOriginMismatch), errors.Is(err, sdk.ErrNoKernel),
		errors.Is(err, bundle.ErrMalformed), errors.Is(err, bundle.ErrUntrusted), errors.Is(err, packed.ErrOther):
		return Refused
	}
	return Failed
}

// explain gives err a class and says what state the machine is in. An *Error that
// already has both is returned as it is.
func explain(err error, state string) error {
	var e *Error
	if err == nil || errors.As(err, &e) && e.State != "" {
		return err
	}
	return &Error{Class: classify(err), Err: err, State: state}
}

// explainUnsettled is explain for what recover could not do and has to do again,
// whatever it was that failed.
func explainUnsettled(err error) error {
	var e *Error
	if errors.As(err, &e) && e.State != "" {
		return err
	}
	return &Error{Class: Unclear, Err: err, State: needsRecover}
}
