package sdk

import (
	"errors"
	"fmt"
)

// Code classifies an error so that a host can branch on it. Codes survive the
// process boundary; the sentinels below match them with errors.Is.
type Code string

// The codes of contract version 1. A host treats one that it does not know as
// CodeInternal.
const (
	CodeInvalid     Code = "invalid"     // a parameter or setting is wrong, or the call is out of order
	CodeNotFound    Code = "not-found"   // the object is not there
	CodeExists      Code = "exists"      // something else already has that name
	CodeBusy        Code = "busy"        // in use: mounted, default, or pinned by an entry
	CodeNoSpace     Code = "no-space"    // not enough room, for data or for metadata
	CodeReadOnly    Code = "read-only"   // the filesystem is mounted or forced read-only
	CodeUnsupported Code = "unsupported" // another filesystem, loader or feature than this plugin handles
	CodeNoKernel    Code = "no-kernel"   // a root tree holds no kernel that could be installed
	CodeCorrupt     Code = "corrupt"     // what is on disk contradicts itself or its checksum
	CodeCancelled   Code = "cancelled"   // the context was cancelled
	CodeInternal    Code = "internal"    // anything else
)

// Sentinels for errors.Is, one for each Code on which a host branches.
var (
	ErrInvalid     = &Error{Code: CodeInvalid}
	ErrNotFound    = &Error{Code: CodeNotFound}
	ErrExists      = &Error{Code: CodeExists}
	ErrBusy        = &Error{Code: CodeBusy}
	ErrNoSpace     = &Error{Code: CodeNoSpace}
	ErrReadOnly    = &Error{Code: CodeReadOnly}
	ErrUnsupported = &Error{Code: CodeUnsupported}
	ErrNoKernel    = &Error{Code: CodeNoKernel}
	ErrCorrupt     = &Error{Code: CodeCorrupt}
	ErrCancelled   = &Error{Code: CodeCancelled}
)

// Error is what a plugin's method returns. Its text reads "cannot OPERATION
// OBJECT: MESSAGE".
type Error struct {
	Code      Code
	Operation string // a verb: "snapshot", "install kernel of"
	Object    string // what it was done to: a name, path, device or entry
	Message   string // why it failed, with the figures

	// Err is the cause, where there is one. It does not survive the process
	// boundary; its text does, as Message.
	Err error
}

// Errorf makes an *Error whose message is formatted as fmt.Errorf does; a %w verb
// keeps the cause for errors.Is on this side of the process boundary.
func Errorf(code Code, operation, object, format string, args ...any) *Error {
	cause := fmt.Errorf(format, args...)
	return &Error{Code: code, Operation: operation, Object: object, Message: cause.Error(), Err: cause}
}

// Error gives the text for people.
func (e *Error) Error() string {
	if e.Operation == "" {
		if e.Message == "" {
			return string(e.Code)
		}
		return e.Message
	}
	return fmt.Sprintf("cannot %s %s: %s", e.Operation, e.Object, e.Message)
}

// Unwrap gives the cause, or nil.
func (e *Error) Unwrap() error { return e.Err }

// Is makes an Error match the sentinel of its code: a target that has nothing but
// a Code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Operation == "" && t.Object == "" && t.Message == "" && t.Err == nil && t.Code == e.Code
}

// CodeOf gives the code of the first *Error in err's chain, CodeInternal for any
// other error and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
