package serve

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc"

	"github.com/trebuchet-update/tbupdate/sdk"
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

// session keeps the order of a plugin's life: one call at a time, Configure
// once and first, Close once and last.
type session struct {
	plugin sdk.Plugin

	// turn holds a token while no call is under way.
	turn chan struct{}
	// closed is closed after the implementation's Close has returned.
	closed    chan struct{}
	closeOnce sync.Once
	closeErr  error

	mu     sync.Mutex
	stage  stage
	cancel context.CancelFunc // of the call under way, else nil
}

type stage int

const (
	started stage = iota
	configuring
	configured
	closing
)

func newSession(plugin sdk.Plugin) *session {
	s := &session{plugin: plugin, turn: make(chan struct{}, 1), closed: make(chan struct{})}
	s.turn <- struct{}{}
	return s
}

// Cancel implements wire.Session.
func (s *session) Cancel() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		s.cancel()
	}
}

// Close implements wire.Session. All callers get the result of the one call of
// the implementation's Close.
func (s *session) Close(context.Context) error {
	s.mu.Lock()
	s.stage = closing
	s.mu.Unlock()
	s.closeOnce.Do(func() {
		<-s.turn // and it never comes back
		defer close(s.closed)
		s.closeErr = guard("close", "the plugin", s.plugin.Close)
	})
	return s.closeErr
}

func (s *session) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	method, ours := wire.MethodOf(info.FullMethod)
	switch info.FullMethod {
	case pluginv1.Plugin_Cancel_FullMethodName, pluginv1.Plugin_Close_FullMethodName:
		ours = false // they are about calls, and no calls themselves
	}
	if !ours {
		return handler(ctx, request)
	}
	ctx, end, err := s.begin(ctx, method, info.FullMethod)
	if err != nil {
		return nil, wire.ToStatus(err)
	}
	err = guard("run", method.Name, func() error {
		response, err = handler(ctx, request)
		return err
	})
	end(err)
	return response, wire.ToStatus(err)
}

func (s *session) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	method, ours := wire.MethodOf(info.FullMethod)
	if !ours {
		return handler(server, stream)
	}
	ctx, end, err := s.begin(stream.Context(), method, info.FullMethod)
	if err != nil {
		return wire.ToStatus(err)
	}
	err = guard("run", method.Name, func() error {
		return handler(server, &streamWithContext{ServerStream: stream, ctx: ctx})
	})
	end(err)
	return wire.ToStatus(err)
}

// streamWithContext is a stream with the context of the session's call.
type streamWithContext struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *streamWithContext) Context() context.Context { return s.ctx }

// begin waits for the call's turn and gives its context. The caller calls end
// with the call's result when it is over.
func (s *session) begin(ctx context.Context, method wire.Method, fullName string) (_ context.Context, end func(error), _ error) {
	select {
	case <-s.turn:
	case <-s.closed:
		return nil, nil, refuse(method, sdk.CodeCancelled, "the plugin is closed")
	case <-ctx.Done():
		return nil, nil, refuse(method, sdk.CodeCancelled, "it was cancelled before it began")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(method, fullName); err != nil {
		s.turn <- struct{}{}
		return nil, nil, err
	}
	if method.Changes {
		// A broken connection cancels ctx, and must not interrupt a change.
		ctx = context.WithoutCancel(ctx)
	}
	ctx, s.cancel = context.WithCancel(ctx)
	return ctx, func(err error) { s.end(fullName, err) }, nil
}

// admit says whether a method may be called at this stage. s.mu is held.
func (s *session) admit(method wire.Method, fullName string) error {
	isConfigure := fullName == pluginv1.Plugin_Configure_FullMethodName
	switch {
	case s.stage == closing:
		return refuse(method, sdk.CodeCancelled, "the plugin is closing")
	case fullName == pluginv1.Plugin_Describe_FullMethodName:
		return nil
	case isConfigure && s.stage == started:
		s.stage = configuring
		return nil
	case isConfigure:
		return refuse(method, sdk.CodeInvalid, "Configure was called before")
	case s.stage != configured:
		return refuse(method, sdk.CodeInvalid, "the plugin is not configured")
	}
	return nil
}

func refuse(method wire.Method, code sdk.Code, why string) error {
	return sdk.Errorf(code, "call", method.Name, "%s", why)
}

func (s *session) end(fullName string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fullName == pluginv1.Plugin_Configure_FullMethodName && err == nil && s.stage == configuring {
		s.stage = configured
	}
	s.cancel()
	s.cancel = nil
	s.turn <- struct{}{}
}

// guard calls f and makes an error of a panic. The stack goes to the log.
func guard(operation, object string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "panic in %s: %v\n%s", object, p, debug.Stack())
			err = sdk.Errorf(sdk.CodeInternal, operation, object, "the plugin panicked: %v", p)
		}
	}()
	return f()
}
