package update

import (
	"context"
	"fmt"

	"github.com/trebuchet-update/tbupdate/core/bundle"
	"github.com/trebuchet-update/tbupdate/core/generation"
)

// Confirmed says what Confirm did.
type Confirmed struct {
	// Generation is the one that is good now; nil when nothing was on trial.
	Generation *generation.Generation
}

// Confirm makes the running trial the permanent default, and removes what the
// configuration does not keep. With nothing on trial it does nothing.
func (m *Machine) Confirm(ctx context.Context) (*Confirmed, error) {
	s, err := m.begin(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	if err := s.requireSettled(ctx); err != nil {
		return nil, explain(fmt.Errorf("cannot confirm: %w", err), nothingChanged)
	}
	if s.journal.Trial == nil {
		return &Confirmed{}, nil
	}
	booted, subvolume, err := s.booted(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	id := s.journal.Trial.ID
	if booted == nil || booted.ID != id {
		return nil, &Error{Class: Failed, State: nothingChanged,
			Err: fmt.Errorf("cannot confirm generation %s: it is not what runs (that is %s)", id, describe(subvolume))}
	}
	g := *s.journal.Find(id)
	if err := s.startOperation(generation.Operation{Kind: generation.Confirm, Generation: g, Before: s.journal.Roles, After: s.journal.Roles}); err != nil {
		return nil, explain(fmt.Errorf("cannot confirm generation %s: %w", id, err), nothingChanged)
	}
	// The switch is the only step. A crash before it leaves the trial as it was, a
	// crash after it a machine that boots the new pair, which Recover records as good.
	err = s.switchTo(ctx, id)
	if err == nil {
		err = s.finishConfirm(context.WithoutCancel(ctx))
	}
	if err != nil {
		if err := s.giveUp(ctx, fmt.Errorf("cannot confirm generation %s: %w", id, err)); err != nil {
			return nil, err
		}
	}
	s.tidy(ctx, keepFailed)
	return &Confirmed{Generation: s.journal.Find(id)}, nil
}

// finishConfirm brings the journal up to date after the switch.
func (s *session) finishConfirm(ctx context.Context) error {
	op := s.journal.Operation
	op.Generation.State = generation.Good
	op.Generation.ConfirmedAt = s.Now().UTC()
	s.journal.Put(op.Generation)
	s.overrule(op.Generation)
	if op.Generation.Signed && bundle.CompareVersions(op.Generation.Version, s.journal.Floor) > 0 {
		s.journal.Floor = op.Generation.Version
	}
	s.journal.Default = op.Generation.ID
	s.journal.Trial = nil
	return s.finish(ctx, generation.ResultDone, "")
}
