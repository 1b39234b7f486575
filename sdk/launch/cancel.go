package launch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

// ErrAbandoned is what a call returns that was cancelled and did not end within
// the grace. It may still be under way in the plugin.
var ErrAbandoned = errors.New("the call did not end after it was cancelled")

// forwardCancel makes cancelling a call mean what it means in one process: the
// method is asked to end, and its answer, which may well be success, is waited
// for. gRPC by itself returns at once and leaves the caller in the dark about
// what the plugin is still changing.
//
// It also keeps calls one at a time, so that the plugin's Cancel cannot hit
// another call than the one meant.
func (p *Process) forwardCancel(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	m, ours := wire.MethodOf(method)
	if !ours || method == pluginv1.Plugin_Cancel_FullMethodName || method == pluginv1.Plugin_Close_FullMethodName {
		return invoke(ctx, method, request, reply, conn, options...)
	}
	select {
	case <-p.turn:
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	defer func() { p.turn <- struct{}{} }()
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	detached, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	done := make(chan error, 1)
	go func() { done <- invoke(detached, method, request, reply, conn, options...) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	return p.cancelCall(ctx, m, done)
}

// cancelCall asks the plugin to end the call under way and waits for its answer.
func (p *Process) cancelCall(ctx context.Context, m wire.Method, done <-chan error) error {
	grace := p.config.CancelGrace
	if m.Changes {
		grace = p.config.ChangeCancelGrace
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	// A plugin that does not know Cancel ends the call when it is through.
	_ = p.Plugin().Cancel(limit)
	select {
	case err := <-done:
		return err
	case <-limit.Done():
		return fmt.Errorf("%w, within %s: %w", ErrAbandoned, grace.Round(time.Millisecond), context.Cause(ctx))
	}
}
