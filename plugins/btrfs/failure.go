package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// failure makes an error of the contract out of a cause. A cause that is one
// already keeps its code.
func failure(operation, object string, cause error) error {
	if cause == nil {
		return nil
	}
	if object == "" {
		object = `""`
	}
	var known *sdk.Error
	if errors.As(cause, &known) && known.Operation == "" {
		return sdk.Errorf(known.Code, operation, object, "%w", cause)
	}
	if known != nil {
		return cause
	}
	return sdk.Errorf(codeFor(cause), operation, object, "%w", cause)
}

// because makes a cause with a code, which failure then puts into words.
func because(code sdk.Code, format string, arguments ...any) error {
	cause := fmt.Errorf(format, arguments...)
	return &sdk.Error{Code: code, Message: cause.Error(), Err: cause}
}

// codeFor classifies errors of the system.
func codeFor(err error) sdk.Code {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return sdk.CodeCancelled
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return sdk.CodeNoSpace
	case errors.Is(err, unix.EROFS):
		return sdk.CodeReadOnly
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ETXTBSY):
		return sdk.CodeBusy
	case errors.Is(err, fs.ErrNotExist):
		return sdk.CodeNotFound
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOTEMPTY):
		return sdk.CodeExists
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENAMETOOLONG):
		return sdk.CodeInvalid
	case errors.Is(err, unix.EUCLEAN), errors.Is(err, unix.EIO), errors.Is(err, unix.EBADMSG):
		return sdk.CodeCorrupt // EUCLEAN is the kernel's EFSCORRUPTED
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EXDEV):
		return sdk.CodeUnsupported
	}
	return sdk.CodeInternal
}
