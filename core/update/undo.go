package update

import (
	"context"
	"errors"
	"fmt"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// giveUp ends the operation in flight after cause stopped it. A call can fail
// although it did its work, so the boot loader is asked first: where the default
// was switched all the same, the operation is finished, and giveUp returns nil. In
// all other cases it is undone, and giveUp returns the error that the operator
// sees. (An armed trial can be taken back; so it is.)
func (s *session) giveUp(ctx context.Context, cause error) error {
	op := s.journal.Operation
	if op == nil {
		return explain(cause, nothingChanged)
	}
	ctx = context.WithoutCancel(ctx) // a signal stops the work, not its undoing
	finished, err := false, error(nil)
	if op.Kind != generation.Apply {
		finished, err = s.finishIfSwitched(ctx)
	}
	if err == nil && !finished {
		err = s.goBack(ctx, cause.Error())
	}
	switch {
	case err != nil:
		return &Error{Class: Unclear, Err: errors.Join(cause, err), State: needsRecover}
	case finished:
		s.Reporter.Message(fmt.Sprintf("%v; it was tried again and is done", cause))
		return nil
	}
	return explain(cause, stateAfterUndoing(op.Kind))
}

// finishIfSwitched finishes the operation in flight if its default was switched.
// The switch is taken once more, since what made it fail may be that it is not on
// the disk yet.
func (s *session) finishIfSwitched(ctx context.Context) (bool, error) {
	switched, err := s.switched(ctx)
	if err != nil || !switched {
		return false, err
	}
	if err := s.switchTo(ctx, s.journal.Operation.Generation.ID); err != nil {
		return false, err
	}
	return true, s.finishSwitched(ctx)
}

// goBack undoes the operation in flight, whose switch was not made.
func (s *session) goBack(ctx context.Context, reason string) error {
	switch s.journal.Operation.Kind {
	case generation.Rollback:
		return s.undoRollback(ctx, reason)
	case generation.Confirm:
		// Nothing but the switch was to be done: the trial goes on.
		return s.finish(ctx, generation.ResultUndone, reason)
	}
	return s.undo(ctx, reason)
}

// stateAfterUndoing says what goBack left.
func stateAfterUndoing(kind generation.OperationKind) string {
	switch kind {
	case generation.Rollback:
		return rollbackUndone
	case generation.Confirm:
		return confirmUndone
	}
	return undone
}

// undo brings everything back to how it was before an init or apply whose switch
// was not made. Each of its steps can be repeated, after a crash in any of them.
func (s *session) undo(ctx context.Context, reason string) error {
	op := s.journal.Operation
	op.Undoing = true
	err := s.take(ctx, []planned{
		{stepDisarm, s.disarmOperation},
		{stepClear, func(ctx context.Context) error { return s.deleteName(ctx, generation.NewName) }},
	})
	if err == nil {
		err = s.arrange(ctx, op.Before)
	}
	if err == nil {
		err = s.take(ctx, []planned{
			{stepUnstage, func(ctx context.Context) error { return s.Boot.Remove(ctx, string(op.Generation.ID)) }},
			{stepRemove, s.removeOperationTrees},
		})
	}
	if err != nil {
		return fmt.Errorf("cannot undo the %s: %w", op.Kind, err)
	}
	s.forget(op.Generation.ID)
	s.journal.Roles = op.Before
	return s.finish(ctx, generation.ResultUndone, reason)
}

// disarmOperation takes the trial of the generation in flight back. It comes
// first: as long as the trial is armed, nothing that it needs may be removed.
func (s *session) disarmOperation(ctx context.Context) error {
	id := s.journal.Operation.Generation.ID
	state, err := s.Boot.State(ctx)
	if err != nil {
		return err
	}
	if state.Trial == string(id) {
		if err := s.Boot.Disarm(ctx); err != nil {
			return err
		}
	}
	if s.journal.Trial != nil && s.journal.Trial.ID == id {
		s.journal.Trial = nil
	}
	return nil
}

// removeOperationTrees deletes the trees of the generation in flight, under
// whatever name the crash left them.
func (s *session) removeOperationTrees(ctx context.Context) error {
	op := s.journal.Operation
	g := op.Generation
	if op.DefaultRoot != "" {
		if err := s.FS.SetDefault(ctx, op.DefaultRoot); err != nil {
			return err
		}
	}
	if g.Root != "" && !op.Adopted {
		if err := s.FS.Delete(ctx, g.Root); err != nil {
			return err
		}
	}
	if g.Pristine != "" {
		if err := s.FS.Delete(ctx, g.Pristine); err != nil {
			return err
		}
	}
	// A crash between the making of a tree and its record in the journal leaves
	// it under its first name.
	for _, name := range append([]string{g.ID.WritableName(), g.ID.PristineName()}, op.State...) {
		if err := s.deleteName(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// forget takes a generation out of the model.
func (s *session) forget(id generation.ID) {
	kept := s.journal.Generations[:0:0]
	for _, g := range s.journal.Generations {
		if g.ID != id {
			kept = append(kept, g)
		}
	}
	s.journal.Generations = kept
}

// removeGeneration deletes the kernel set and the trees of a generation that has
// no role. The kernel set goes first: an entry without its root would be a trap,
// a root without an entry is only room not yet given back.
func (s *session) removeGeneration(ctx context.Context, g *generation.Generation) error {
	err := s.step(ctx, stepUnstage, func(ctx context.Context) error {
		g.Removing = true
		return s.Boot.Remove(ctx, string(g.ID))
	})
	if err != nil {
		return err
	}
	return s.step(ctx, stepRemove, func(ctx context.Context) error {
		for _, tree := range []*sdk.Identity{&g.Root, &g.Pristine} {
			if *tree == "" {
				continue
			}
			if err := s.FS.Delete(ctx, *tree); err != nil {
				return err
			}
			*tree = ""
		}
		return nil
	})
}
