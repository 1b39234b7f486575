package wire

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/trebuchet-update/tbupdate/sdk"
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
)

// maxErrorText limits each text of an error, in bytes. Errors travel in HTTP/2
// trailers, whose size gRPC limits to 16 MiB.
const maxErrorText = 64 << 10

// statusCodes gives the gRPC code that tools which do not know the detail see.
var statusCodes = map[sdk.Code]codes.Code{
	sdk.CodeInvalid:     codes.InvalidArgument,
	sdk.CodeNotFound:    codes.NotFound,
	sdk.CodeExists:      codes.AlreadyExists,
	sdk.CodeBusy:        codes.FailedPrecondition,
	sdk.CodeNoSpace:     codes.ResourceExhausted,
	sdk.CodeReadOnly:    codes.FailedPrecondition,
	sdk.CodeUnsupported: codes.Unimplemented,
	sdk.CodeNoKernel:    codes.FailedPrecondition,
	sdk.CodeCorrupt:     codes.DataLoss,
	sdk.CodeCancelled:   codes.Canceled,
	sdk.CodeInternal:    codes.Internal,
}

// ToStatus makes a gRPC error of what a plugin's method returned; nil stays nil.
//
// The *sdk.Error in err's chain travels with code, operation, object and
// message. Where err wraps it in more words, the whole text becomes the message,
// so that nothing said is lost. The context's errors have CodeCancelled, all
// others CodeInternal. What ToStatus made it gives back as it is.
func ToStatus(err error) error {
	if err == nil || FromStatus(err) != err {
		return err
	}
	detail := toError(err)
	code, known := statusCodes[sdk.Code(detail.GetCode())]
	if !known {
		code = codes.Internal
	}
	st := status.New(code, text(err.Error()[:min(len(err.Error()), 1024)]))
	withDetail, detailErr := st.WithDetails(detail)
	if detailErr != nil {
		return st.Err()
	}
	return withDetail.Err()
}

func toError(err error) *pluginv1.Error {
	var e *sdk.Error
	switch {
	case !errors.As(err, &e):
		e = &sdk.Error{Code: sdk.CodeInternal, Message: err.Error()}
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			e.Code = sdk.CodeCancelled
		}
	case error(e) != err && e.Error() != err.Error():
		e = &sdk.Error{Code: e.Code, Message: err.Error()}
	}
	return &pluginv1.Error{
		Code:      text(e.Code),
		Operation: cut(e.Operation),
		Object:    cut(e.Object),
		Message:   cut(e.Message),
	}
}

func cut(s string) []byte {
	if len(s) > maxErrorText {
		return append([]byte(s[:maxErrorText]), " …"...)
	}
	return []byte(s)
}

// FromStatus makes an *sdk.Error of a gRPC error that carries one; a code of a
// later contract becomes CodeInternal. Any other error, such as one of the
// transport, comes back as it is; nil stays nil.
func FromStatus(err error) error {
	st, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	for _, detail := range st.Details() {
		if e, ok := detail.(*pluginv1.Error); ok {
			return &sdk.Error{
				Code:      knownCode(e.GetCode()),
				Operation: string(e.GetOperation()),
				Object:    string(e.GetObject()),
				Message:   string(e.GetMessage()),
			}
		}
	}
	return err
}

func knownCode(code string) sdk.Code {
	if _, known := statusCodes[sdk.Code(code)]; known {
		return sdk.Code(code)
	}
	return sdk.CodeInternal
}
