package update

import (
	"context"
	"errors"
	"fmt"

	"github.com/trebuchet-update/tbupdate/core/generation"
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
	defer s.end()
	booted, _, err := s.booted(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	var back *RolledBack
	if s.journal.Operation == nil && s.journal.Trial != nil {
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
	if id != "" && id != trial.Before.Root {
		return nil, fmt.Errorf("generation %s is on trial; roll back from it first, without naming a generation", trial.ID)
	}
	if err := s.fallBack(ctx, byOperator); err != nil {
		return nil, &Error{Class: Unclear, Err: err, State: needsRecover}
	}
	return &RolledBack{To: *s.journal.Find(trial.Before.Root), GivenUp: s.journal.Find(trial.ID)}, nil
}

// fallBack takes a trial back: the boot loader's default was never another than
// the old pair, so only the trial and the names have to return.
func (s *session) fallBack(ctx context.Context, reason string) error {
	trial := s.journal.Trial
	err := s.startOperation(generation.Operation{
		Kind: generation.FallBack, Generation: *s.journal.Find(trial.ID), Before: s.journal.Roles, After: trial.Before, Reason: reason,
	})
	if err != nil {
		return err
	}
	return s.finishFallBack(ctx)
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
	if err := s.Boot.Verify(ctx, string(target.ID)); err != nil {
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
		undoing := context.WithoutCancel(ctx)
		if undoErr := s.undoRollback(undoing, err.Error()); undoErr != nil {
			return nil, &Error{Class: Unclear, Err: errors.Join(err, undoErr), State: needsRecover}
		}
		return nil, &Error{Class: classify(err), Err: err, State: "The roll-back was undone; the machine is as before."}
	}
	if err := s.finishRollback(context.WithoutCancel(ctx)); err != nil {
		return nil, &Error{Class: Unclear, Err: err, State: `The next boot goes back; run "tbupdate recover" to bring the journal up to date.`}
	}
	return &RolledBack{To: *s.journal.Find(target.ID)}, nil
}

// switchTo makes the generation the boot loader's default: the last step.
func (s *session) switchTo(ctx context.Context, id generation.ID) error {
	return s.step(ctx, stepSwitch, func(ctx context.Context) error {
		return s.Boot.SetDefault(context.WithoutCancel(ctx), string(id))
	})
}

// rollbackTarget finds the generation to go back to.
func (s *session) rollbackTarget(id generation.ID) (*generation.Generation, error) {
	if op := s.journal.Operation; op != nil {
		return nil, refusal(Unclear, "an earlier %s was cut short in the step %q; run \"tbupdate recover\"", op.Kind, op.Step)
	}
	if id == "" {
		id = s.journal.Roles.Previous
	}
	if id == "" {
		return nil, errors.New("there is no previous generation")
	}
	target := s.journal.Find(id)
	switch {
	case target == nil:
		return nil, refusal(Usage, "there is no generation %s; \"tbupdate status\" lists them", id)
	case id == s.journal.Roles.Root:
		return nil, fmt.Errorf("generation %s boots next already", id)
	case target.State != generation.Good:
		return nil, fmt.Errorf("generation %s is %s, and only one that was confirmed can be gone back to", id, target.State)
	case !target.Present():
		return nil, fmt.Errorf("the trees of generation %s were removed", id)
	}
	return target, nil
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
