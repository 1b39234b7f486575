package tree

import (
	"context"
)

// Move says why a walk stops at an entry.
type Move int

// The moves of a walk.
const (
	// MoveEntry: the target has an entry of this path. The origin has one too,
	// perhaps of another kind, or not.
	MoveEntry Move = iota
	// MoveLeave: all below the target's directory has been visited. The nodes are
	// those of its MoveEntry, but only for their entries.
	MoveLeave
	// MoveGone: the origin has an entry, the target has none. What is below it
	// is not visited.
	MoveGone
)

// Step is one stop of a walk. R is what the caller's prepare function finds out.
type Step[R any] struct {
	Move   Move
	Origin *Node // nil where the origin has no such entry
	Target *Node // nil for MoveGone
	Result R
}

// Path gives the path of the step's entry.
func (s *Step[R]) Path() string {
	if s.Target != nil {
		return s.Target.Path
	}
	return s.Origin.Path
}

// Visitor is what a walk calls.
type Visitor[R any] struct {
	// Prepare does the slow part of a step, reading and comparing, ahead of its
	// visit. Several run at once, for steps that are not far from each other. It
	// is not called for MoveLeave; nil is nothing to prepare.
	Prepare func(context.Context, *Scratch, *Step[R]) error
	// Visit is called for every step after its Prepare, one at a time and in
	// order.
	Visit func(*Step[R]) error
}

// Walk visits every entry of the tree target, each with the entry of the same path
// in origin. In each directory the entries of target come first, sorted by bytes,
// each directory followed by what is in it and then by its MoveLeave; then those
// that only origin has, sorted as well. The tops themselves are not visited.
//
// A nil origin has no entries. Of an origin, directories are entered where the
// target has a directory of the same path.
//
// The first error ends the walk: Prepare's, Visit's, the context's, a
// *BoundaryError, a *ChangedError, or that of a system call.
func Walk[R any](ctx context.Context, origin, target *Dir, v Visitor[R]) error {
	return inOrder(ctx, v, func(ctx context.Context, put func(*Step[R]) error) error {
		return walkDir(ctx, origin, target, put)
	})
}

// walkDir puts the steps of one pair of directories and of all below.
func walkDir[R any](ctx context.Context, origin, target *Dir, put func(*Step[R]) error) error {
	names, err := target.names(ctx)
	if err != nil {
		return err
	}
	var before []string
	if origin != nil {
		if before, err = origin.names(ctx); err != nil {
			return err
		}
	}
	gone, next := before[:0], 0 // gone collects in place, behind next
	for _, name := range names {
		for ; next < len(before) && before[next] < name; next++ {
			gone = append(gone, before[next])
		}
		in := origin
		if next < len(before) && before[next] == name {
			next++
		} else {
			in = nil
		}
		if err := walkEntry(ctx, in, target, name, put); err != nil {
			return err
		}
	}
	gone = append(gone, before[next:]...)
	for _, name := range gone {
		node, err := origin.node(name)
		if err != nil {
			return err
		}
		if err := put(&Step[R]{Move: MoveGone, Origin: node}); err != nil {
			return err
		}
	}
	return nil
}

// walkEntry puts the steps of one entry of target; origin is nil when it has none
// of this name.
func walkEntry[R any](ctx context.Context, origin, target *Dir, name string, put func(*Step[R]) error) error {
	step := &Step[R]{Move: MoveEntry}
	var err error
	if step.Target, err = target.node(name); err != nil {
		return err
	}
	if origin != nil {
		if step.Origin, err = origin.node(name); err != nil {
			step.Target.release()
			return err
		}
	}
	if step.Target.Kind() != KindDirectory {
		return put(step)
	}
	return walkInto(ctx, step, put)
}

// walkInto puts the step of a directory, those of all below, and its leaving.
func walkInto[R any](ctx context.Context, step *Step[R], put func(*Step[R]) error) error {
	leave := &Step[R]{Move: MoveLeave, Origin: step.Origin, Target: step.Target}
	target, err := step.Target.parent.enter(step.Target)
	if err != nil {
		step.release()
		return err
	}
	defer target.Close()
	var origin *Dir
	if step.Origin != nil && step.Origin.Kind() == KindDirectory {
		if origin, err = step.Origin.parent.enter(step.Origin); err != nil {
			step.release()
			return err
		}
		defer origin.Close()
	}
	if err := put(step); err != nil {
		return err
	}
	if err := walkDir(ctx, origin, target, put); err != nil {
		return err
	}
	return put(leave)
}

// release gives back the nodes' directories. A MoveLeave holds none.
func (s *Step[R]) release() {
	if s.Move == MoveLeave {
		return
	}
	s.Origin.release()
	s.Target.release()
}
