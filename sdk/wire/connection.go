package wire

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// translated is a connection whose calls fail with errors of package sdk, so that
// no method of a client has to see to that.
type translated struct{ grpc.ClientConnInterface }

func (c translated) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	return fromCall(ctx, method, c.ClientConnInterface.Invoke(ctx, method, request, reply, options...))
}

func (c translated) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.ClientConnInterface.NewStream(ctx, desc, method, options...)
	if err != nil {
		return nil, fromCall(ctx, method, err)
	}
	return translatedStream{ClientStream: stream, caller: ctx, method: method}, nil
}

type translatedStream struct {
	grpc.ClientStream
	caller context.Context // the stream's own may be over for another reason
	method string
}

func (s translatedStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if errors.Is(err, io.EOF) {
		return err // the contract of streams in gRPC asks for this very value
	}
	return fromCall(s.caller, s.method, err)
}

// fromCall is FromStatus for the error of a call that was made with ctx: where
// gRPC ended the call because ctx is over, before the plugin's answer came, that
// is an *sdk.Error as well.
func fromCall(ctx context.Context, fullName string, err error) error {
	reported := FromStatus(err)
	var own *sdk.Error
	if reported == nil || errors.As(reported, &own) || ctx.Err() == nil {
		return reported
	}
	switch status.Code(err) {
	case codes.Canceled, codes.DeadlineExceeded:
		m, _ := MethodOf(fullName)
		return sdk.Errorf(sdk.CodeCancelled, "call", m.Name, "%w", context.Cause(ctx))
	}
	return reported
}
