package bootdir

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
	"github.com/trebuchet-update/tbupdate/sdk/extfs"
	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

// fail makes an error of the contract out of any other.
func (p *Plugin) fail(operation, object string, err error) error {
	for known, code := range p.program.Errors {
		if errors.Is(err, known) && !isContracts(err) {
			return sdk.Errorf(code, operation, object, "%w", err)
		}
	}
	return wrap(operation, object, err)
}

func isContracts(err error) bool {
	var known *sdk.Error
	return errors.As(err, &known)
}

// wrap is fail for errors of the packages below sdk and of the system.
func wrap(operation, object string, err error) error {
	if err == nil || isContracts(err) {
		return err
	}
	return sdk.Errorf(codeOf(err), operation, object, "%w", err)
}

func codeOf(err error) sdk.Code {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return sdk.CodeCancelled
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return sdk.CodeNoSpace
	case errors.Is(err, syscall.EROFS):
		return sdk.CodeReadOnly
	case errors.Is(err, extfs.ErrNotExt):
		return sdk.CodeUnsupported
	case errors.Is(err, extfs.ErrAmbiguous):
		return sdk.CodeInvalid
	case errors.Is(err, durable.ErrMismatch), errors.Is(err, ErrDamaged), errors.Is(err, syscall.EIO):
		return sdk.CodeCorrupt
	case errors.Is(err, kernelset.ErrNoKernel), errors.Is(err, kernelset.ErrCutShort):
		return sdk.CodeNoKernel
	case errors.Is(err, extfs.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return sdk.CodeNotFound
	}
	return sdk.CodeInternal
}
