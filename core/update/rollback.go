package update

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// RolledBack says what Rollback did.
type RolledBack struct {
	// To is the generation that boots next.
	To generation.Generation
	// GivenUp is the trial that was taken back, nil when there was none.
	GivenUp *generation.Generation
	// Reboot is true when another generation than To runs now.
	Reboot bool
}

// byOperator is the reason of a generation that was rolled back by hand.
const byOperator = "rolled back by the operator"

// Rollback makes the next boot go back: to what ran before, when a generation is
// on trial or armed for one; else to the generation id, or to previous where id is
// "". A good generation was confirmed on this machine before, so it becomes the
// default at once, without another trial.
func (m *Machine) Rollback(ctx context.Context, id generation.ID) (*RolledBack, error) {
	s, err := m.begin(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	if err := s.requireSettled(ctx); err != nil {
		return nil, explain(fmt.Errorf("cannot roll back: %w", err), nothingChanged)
	}
	booted, _, err := s.booted(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	var back *RolledBack
	if s.journal.Trial != nil {
		back, err = s.giveUpTrial(ctx, id)
	} else {
		back, err = s.rollBackTo(ctx, id)
	}
	if err != nil {
		return nil, explain(fmt.Errorf("cannot roll back: %w", err), nothingChanged)
	}
	back.Reboot = booted == nil || booted.ID != back.To.ID
	return back, nil
}

// giveUpTrial rolls back from a generation that was not confirmed.
func (s *session) giveUpTrial(ctx context.Context, id generation.ID) (*RolledBack, error) {
	trial := *s.journal.Trial
	if id != "" {
		named, err := s.findGeneration(id)
		if err != nil {
			return nil, err
		}
		id = named.ID
	}
	if id != "" && id != trial.Before.Root {
		return nil, fmt.Errorf("generation %s is on trial; roll back from it first, without naming a generation", trial.ID)
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	state, err := s.Boot.State(ctx)
	if err != nil {
		return nil, err
	}
	// What was never tried has not failed: it may be applied again.
	untried := state.Trial == string(trial.ID) && state.TriesLeft == trial.Tries && len(trial.Boots) == 0
	if err := s.fallBack(ctx, byOperator, untried); err != nil {
		return nil, err
	}
	return &RolledBack{To: *s.journal.Find(trial.Before.Root), GivenUp: s.journal.Find(trial.ID)}, nil
}

// fallBack takes a trial back: the boot loader's default was never another than
// the old pair, so only the trial and the names have to return.
func (s *session) fallBack(ctx context.Context, reason string, untried bool) error {
	trial := s.journal.Trial
	g := *s.journal.Find(trial.ID)
	g.Overruled = untried
	err := s.startOperation(generation.Operation{
		Kind: generation.FallBack, Generation: g, Before: s.journal.Roles, After: trial.Before, Reason: reason,
	})
	if err != nil {
		return err
	}
	// Once begun it ends: the trial that is given up must not go on by half.
	if err := s.finishFallBack(context.WithoutCancel(ctx)); err != nil {
		return &Error{Class: Unclear, Err: err, State: needsRecover}
	}
	s.tidy(ctx, keepFailed) // trials that fail one after the other must not pile up
	return nil
}

// finishFallBack takes the steps of falling back, from wherever they were cut
// short. The trial goes first: an armed trial that is about to be recorded as
// failed could otherwise still boot.
func (s *session) finishFallBack(ctx context.Context) error {
	op := s.journal.Operation
	if err := s.step(ctx, stepDisarm, s.Boot.Disarm); err != nil {
		return err
	}
	if err := s.arrange(ctx, op.After); err != nil {
		return err
	}
	op.Generation.State = generation.Failed
	op.Generation.Reason = op.Reason
	op.Generation.FailedAt = s.Now().UTC()
	s.journal.Put(op.Generation)
	s.journal.Trial = nil
	s.journal.Roles = op.After
	return s.finish(ctx, generation.ResultDone, op.Reason)
}

// rollBackTo makes a good generation the default again.
func (s *session) rollBackTo(ctx context.Context, id generation.ID) (*RolledBack, error) {
	target, err := s.rollbackTarget(id)
	if err != nil {
		return nil, err
	}
	if err := s.checkWhole(ctx, target); err != nil {
		return nil, err
	}
	err = s.startOperation(generation.Operation{
		Kind: generation.Rollback, Generation: *target, Before: s.journal.Roles, After: s.journal.Roles.After(target.ID),
	})
	if err != nil {
		return nil, err
	}
	err = s.arrange(ctx, s.journal.Operation.After)
	if err == nil {
		err = s.switchTo(ctx, target.ID)
	}
	if err != nil {
		if err := s.giveUp(ctx, err); err != nil {
			return nil, err
		}
		return &RolledBack{To: *s.journal.Find(target.ID)}, nil
	}
	if err := s.finishRollback(context.WithoutCancel(ctx)); err != nil {
		return nil, &Error{Class: Unclear, Err: err, State: `The next boot goes back; run "tbupdate recover" to bring the journal up to date.`}
	}
	return &RolledBack{To: *s.journal.Find(target.ID)}, nil
}

// checkWhole makes sure that a generation has all that it boots from.
func (s *session) checkWhole(ctx context.Context, g *generation.Generation) error {
	for _, tree := range []sdk.Identity{g.Root, g.Pristine} {
		if _, err := s.FS.Get(ctx, tree); err != nil {
			return err
		}
	}
	return s.Boot.Verify(ctx, string(g.ID))
}

// switchTo makes the generation the boot loader's default: the last step.
func (s *session) switchTo(ctx context.Context, id generation.ID) error {
	return s.step(ctx, stepSwitch, func(ctx context.Context) error {
		return s.Boot.SetDefault(context.WithoutCancel(ctx), string(id))
	})
}

// rollbackTarget finds the generation to go back to.
func (s *session) rollbackTarget(id generation.ID) (*generation.Generation, error) {
	if id == "" {
		id = s.journal.Roles.Previous
	}
	if id == "" {
		return nil, errors.New("there is no previous generation")
	}
	target, err := s.findGeneration(id)
	if err != nil {
		return nil, err
	}
	id = target.ID
	switch {
	case id == s.journal.Roles.Root:
		return nil, fmt.Errorf("generation %s boots next already", id)
	case target.State != generation.Good:
		return nil, fmt.Errorf("generation %s is %s, and only one that was confirmed can be gone back to", id, target.State)
	case !target.Present():
		return nil, fmt.Errorf("the trees of generation %s were removed", id)
	}
	return target, nil
}

// findGeneration gives the generation that an operator named, by its id or by
// enough of its beginning.
func (s *session) findGeneration(name generation.ID) (*generation.Generation, error) {
	if exact := s.journal.Find(name); exact != nil {
		return exact, nil
	}
	var found *generation.Generation
	for i := range s.journal.Generations {
		if !strings.HasPrefix(string(s.journal.Generations[i].ID), string(name)) {
			continue
		}
		if found != nil {
			return nil, refusal(Usage, "several generations begin with %s; \"tbupdate status\" lists them", name)
		}
		found = &s.journal.Generations[i]
	}
	if found == nil {
		return nil, refusal(Usage, "there is no generation %s; \"tbupdate status\" lists them", name)
	}
	return found, nil
}

// finishRollback brings the journal up to date after the switch.
func (s *session) finishRollback(ctx context.Context) error {
	op := s.journal.Operation
	s.journal.Default = op.Generation.ID
	s.journal.Roles = op.After
	return s.finish(ctx, generation.ResultDone, "")
}

// undoRollback returns the names after a roll-back whose switch was not made.
func (s *session) undoRollback(ctx context.Context, reason string) error {
	op := s.journal.Operation
	op.Undoing = true
	if err := s.arrange(ctx, op.Before); err != nil {
		return err
	}
	return s.finish(ctx, generation.ResultUndone, reason)
}
