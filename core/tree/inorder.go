package tree

import (
	"context"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// lookAhead is how many steps may be under way between the walk and the visits. It
// has to cover the time in which a large file is read with small ones on the other
// processors, and bounds the directories that are kept open.
const lookAhead = 256

// Scratch is room that one Prepare at a time works with.
type Scratch struct {
	a, b []byte
}

// pending is a step on its way to its visit.
type pending[R any] struct {
	step *Step[R]
	done chan error // holds the result of Prepare; nil when there is none to wait for
}

// inOrder runs walk, which puts steps, hands them to as many Prepares as there are
// processors, and visits them in the order in which they were put. It owns every
// step that was put, also those that an error leaves unvisited.
func inOrder[R any](ctx context.Context, v Visitor[R], walk func(context.Context, func(*Step[R]) error) error) error {
	group, ctx := errgroup.WithContext(ctx)
	queue := make(chan pending[R], lookAhead)
	work := make(chan pending[R], lookAhead)

	group.Go(func() error {
		defer close(work)
		defer close(queue)
		return walk(ctx, func(s *Step[R]) error { return put(ctx, v, queue, work, s) })
	})
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			prepareAll(ctx, v, work)
			return nil
		})
	}
	group.Go(func() error { return visitAll(ctx, v, queue) })

	err := group.Wait()
	for p := range queue { // what an error left behind
		p.step.release()
	}
	return err
}

// put queues a step for its visit, and before that for its Prepare. The step is
// released when the context ended.
func put[R any](ctx context.Context, v Visitor[R], queue, work chan<- pending[R], s *Step[R]) error {
	p := pending[R]{step: s}
	if v.Prepare != nil && s.Move != MoveLeave {
		p.done = make(chan error, 1)
	}
	select {
	case queue <- p:
	case <-ctx.Done():
		s.release()
		return ctx.Err()
	}
	if p.done != nil {
		work <- p // somebody takes it, for prepareAll goes on to the end in any case
	}
	return nil
}

// prepareAll prepares steps until there are no more. It answers for every one, so
// that nobody waits in vain, but does nothing any more once the context ended.
func prepareAll[R any](ctx context.Context, v Visitor[R], work <-chan pending[R]) {
	scratch := &Scratch{a: make([]byte, chunk), b: make([]byte, chunk)}
	for p := range work {
		err := ctx.Err()
		if err == nil {
			err = v.Prepare(ctx, scratch, p.step)
		}
		p.done <- err
	}
}

func visitAll[R any](ctx context.Context, v Visitor[R], queue <-chan pending[R]) error {
	for p := range queue {
		var err error
		if p.done != nil {
			err = <-p.done
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = v.Visit(p.step)
		}
		p.step.release()
		if err != nil {
			return err
		}
	}
	return nil
}
