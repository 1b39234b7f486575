package serve

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/trebuchet-update/tbupdate/sdk"
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"
	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

// noted is a plugin that notes when it is closed.
type noted struct {
	sdk.Plugin
	mu    sync.Mutex
	notes []string
	close func() error
}

func (n *noted) note(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notes = append(n.notes, what)
}

func (n *noted) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.notes)
}

func (n *noted) Close() error {
	n.note("close")
	if n.close != nil {
		return n.close()
	}
	return nil
}

// call runs f as a method of the contract would run.
func (s *session) call(ctx context.Context, method string, f func(context.Context) error) error {
	_, err := s.unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
		return nil, f(ctx)
	})
	return wire.FromStatus(err)
}

func nothing(context.Context) error { return nil }

// configuredSession is one whose plugin was configured.
func configuredSession(t *testing.T, plugin sdk.Plugin) *session {
	t.Helper()
	s := newSession(plugin)
	if err := s.call(t.Context(), pluginv1.Plugin_Configure_FullMethodName, nothing); err != nil {
		t.Fatal(err)
	}
	return s
}

// under starts a call that goes on until its context is cancelled and release is
// closed, and waits until it has begun.
func under(s *session, n *noted, release <-chan struct{}) (result <-chan error) {
	begun, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.call(context.Background(), pluginv1.FS_Rename_FullMethodName, func(ctx context.Context) error {
			close(begun)
			if release != nil {
				<-release
			} else {
				<-ctx.Done()
			}
			n.note("end")
			return ctx.Err()
		})
	}()
	<-begun
	return done
}

func TestCloseWaitsForTheCallUnderWay(t *testing.T) {
	n := &noted{}
	s := configuredSession(t, n)
	release := make(chan struct{})
	done := under(s, n, release)
	var closers sync.WaitGroup
	for range 3 {
		closers.Go(func() {
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	for { // closing has begun once calls are refused
		s.mu.Lock()
		stage := s.stage
		s.mu.Unlock()
		if stage == closing {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if got := n.all(); got != nil {
		t.Errorf("before the call's end: %v", got)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	closers.Wait()
	if diff := cmp.Diff([]string{"end", "close"}, n.all()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if err := s.call(t.Context(), pluginv1.Plugin_Describe_FullMethodName, nothing); !errors.Is(err, sdk.ErrCancelled) {
		t.Errorf("a call after Close gave %v", err)
	}
}

// TestLostConnection: the end of a connection cancels a method that reads, and
// not one that changes something.
func TestLostConnection(t *testing.T) {
	s := configuredSession(t, &noted{})
	for method, want := range map[string]error{
		pluginv1.FS_Rename_FullMethodName: nil,
		pluginv1.FS_List_FullMethodName:   context.Canceled,
	} {
		connection, lose := context.WithCancel(t.Context())
		err := s.call(connection, method, func(ctx context.Context) error {
			lose()
			if ctx.Err() != want {
				t.Errorf("%s: the context has %v, want %v", method, ctx.Err(), want)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestOrphan(t *testing.T) {
	const brief = 20 * time.Millisecond
	t.Run("idle", func(t *testing.T) {
		n := &noted{}
		closeOrphan(configuredSession(t, n), time.Hour, time.Hour)
		if diff := cmp.Diff([]string{"close"}, n.all()); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
	t.Run("too slow a call is cancelled", func(t *testing.T) {
		n := &noted{}
		s := configuredSession(t, n)
		done := under(s, n, nil)
		closeOrphan(s, brief, time.Hour)
		if err := <-done; !errors.Is(err, sdk.ErrCancelled) {
			t.Errorf("the call gave %v", err)
		}
		if diff := cmp.Diff([]string{"end", "close"}, n.all()); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
	t.Run("a deaf call is given up", func(t *testing.T) {
		n := &noted{}
		s := configuredSession(t, n)
		release := make(chan struct{})
		done := under(s, n, release)
		closeOrphan(s, brief, brief)
		if got := n.all(); got != nil {
			t.Errorf("closed during a call: %v", got)
		}
		close(release)
		<-done
	})
}

func TestClosePanics(t *testing.T) {
	s := newSession(&noted{close: func() error { panic("oh") }})
	for range 2 {
		if err := s.Close(t.Context()); sdk.CodeOf(err) != sdk.CodeInternal || err.Error() != "cannot close the plugin: the plugin panicked: oh" {
			t.Errorf("got %v", err)
		}
	}
	select {
	case <-s.closed:
	default:
		t.Error("the session does not count as closed")
	}
}

// TestOneAtATime: calls never overlap.
func TestOneAtATime(t *testing.T) {
	s := configuredSession(t, &noted{})
	var calls sync.WaitGroup
	inside := 0 // the race detector watches it
	for range 50 {
		calls.Go(func() {
			_ = s.call(t.Context(), pluginv1.FS_Flush_FullMethodName, func(context.Context) error {
				inside++
				if inside != 1 {
					t.Errorf("%d calls at once", inside)
				}
				inside--
				return nil
			})
		})
	}
	calls.Wait()
}
