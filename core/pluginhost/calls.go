package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/launch"
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

// errTooSlow is the cause when a call's time is up.
var errTooSlow = errors.New("the time for the call is up")

// exitWait is how long the end of a process is waited for after its connection
// broke, so that the message can say how it ended.
const exitWait = 3 * time.Second

// unary sees every call but Changes: it sets the time limit and explains
// failures of the plugin as a program.
func (p *Process) unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	m, ours := wire.MethodOf(method)
	if !ours || method == pluginv1.Plugin_Cancel_FullMethodName || method == pluginv1.Plugin_Close_FullMethodName {
		return invoke(ctx, method, request, reply, conn, options...)
	}
	if broken, _ := p.state(); broken != nil {
		return broken
	}
	c := call{process: p, method: m, limit: p.spec.Limits.Read}
	if m.Changes {
		c.limit = p.spec.Limits.Change
		p.change()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.limit, errTooSlow)
	defer cancel()
	err := invoke(ctx, method, request, reply, conn, options...)
	if m.Changes && !errors.Is(err, launch.ErrAbandoned) {
		p.changeEnded() // an abandoned one goes on in the plugin
	}
	return c.explain(ctx, err)
}

// stream sees the calls of Changes. It has the limit of a change: there may be
// much to read.
func (p *Process) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	m, ours := wire.MethodOf(method)
	if !ours {
		return open(ctx, desc, conn, method, options...)
	}
	if broken, _ := p.state(); broken != nil {
		return nil, broken
	}
	c := call{process: p, method: m, limit: p.spec.Limits.Change}
	ctx, cancel := context.WithTimeoutCause(ctx, c.limit, errTooSlow)
	s, err := open(ctx, desc, conn, method, options...)
	if err != nil {
		defer cancel()
		return nil, c.explain(ctx, err)
	}
	return &watchedStream{ClientStream: s, ctx: ctx, cancel: cancel, call: c}, nil
}

// watchedStream explains how a stream ended.
type watchedStream struct {
	grpc.ClientStream
	ctx    context.Context
	cancel context.CancelFunc
	call   call
}

func (s *watchedStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err == nil {
		return nil
	}
	defer s.cancel()
	if errors.Is(err, io.EOF) {
		return err
	}
	return s.call.explain(s.ctx, err)
}

// call is one call under way.
type call struct {
	process *Process
	method  wire.Method
	limit   time.Duration
}

// explain turns what gRPC reports into what happened. An error of the plugin's
// own passes, unless it is only the answer to being cancelled for slowness.
func (c call) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	p := c.process
	tooSlow := overdue(ctx)
	if errors.Is(err, launch.ErrAbandoned) {
		return p.setBroken(p.fail(c.hangs(tooSlow)))
	}
	reported := wire.FromStatus(err)
	var own *sdk.Error
	if errors.As(reported, &own) {
		if tooSlow && own.Code == sdk.CodeCancelled {
			return p.fail(c.tooSlow())
		}
		return err
	}
	return c.explainTransport(ctx, err, tooSlow)
}

// overdue reports whether a call's time is up. On a busy machine the plugin's side may
// say so before the timer of this side has fired, so the clock counts, too.
func overdue(ctx context.Context) bool {
	if cause := context.Cause(ctx); cause != nil {
		return errors.Is(cause, errTooSlow)
	}
	deadline, ok := ctx.Deadline()
	return ok && !time.Now().Before(deadline)
}

func (c call) hangs(tooSlow bool) error {
	if !tooSlow {
		return fmt.Errorf("hangs in %s: it did not end after it was cancelled", c.method.Name)
	}
	return fmt.Errorf("hangs in %s: it did not end within %s, nor after it was cancelled", c.method.Name, c.limit)
}

func (c call) tooSlow() error {
	return fmt.Errorf("was too slow: %s did not end within %s and was cancelled", c.method.Name, c.limit)
}

// explainTransport explains an error that the plugin's code did not report.
func (c call) explainTransport(ctx context.Context, err error, tooSlow bool) error {
	p := c.process
	switch status.Code(err) {
	case codes.Unimplemented:
		return p.fail(fmt.Errorf("does not have the method %s", c.method.Name))
	case codes.ResourceExhausted:
		return p.fail(fmt.Errorf("gave an answer to %s of more than %d MiB", c.method.Name, wire.MaxMessage>>20))
	case codes.Canceled, codes.DeadlineExceeded:
		if tooSlow {
			return p.fail(c.tooSlow())
		}
		if ctx.Err() != nil {
			return err // package wire says that it was cancelled
		}
	}
	select {
	case <-p.process.Exited():
		return p.setBroken(p.fail(fmt.Errorf("died in %s (%s)", c.method.Name, p.process.ExitStatus())))
	case <-time.After(exitWait):
		if status.Code(err) == codes.Unavailable {
			return p.fail(fmt.Errorf("runs, but cannot be talked to (does it serve with TLS? It must not): %w", err))
		}
		return p.fail(fmt.Errorf("failed in %s: %w", c.method.Name, err))
	}
}
