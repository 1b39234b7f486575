package update

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// Recovered says what Recover found and did, one sentence each; empty when
// everything was in order.
type Recovered struct {
	Actions []string
	// OnTrial is the generation that runs on trial and waits for a confirmation,
	// nil for none.
	OnTrial *generation.Generation
}

// Recover is run at every boot. It finishes or undoes what a crash cut short,
// judges the boot when a generation was on trial, and puts the names of the layout
// right. Run again, it changes nothing more.
func (m *Machine) Recover(ctx context.Context) (*Recovered, error) {
	s, err := m.begin(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	defer s.end()
	r := &Recovered{}
	if err := s.recoverOperation(ctx, r); err != nil {
		return nil, &Error{Class: Unclear, Err: fmt.Errorf("cannot finish or undo what was in flight: %w", err), State: needsRecover}
	}
	if s.journal.Roles.Root == "" {
		return r, nil
	}
	if err := s.judge(ctx, r); err != nil {
		return nil, explain(fmt.Errorf("cannot judge the boot: %w", err), needsRecover)
	}
	if err := s.repairNames(ctx, r); err != nil {
		return nil, explain(fmt.Errorf("cannot put the names of the layout right: %w", err), needsRecover)
	}
	return r, nil
}

// recoverOperation finishes the operation in flight if its switch was made, and
// undoes it if not.
func (s *session) recoverOperation(ctx context.Context, r *Recovered) error {
	op := s.journal.Operation
	if op == nil {
		return nil
	}
	kind, id, step := op.Kind, op.Generation.ID, op.Step
	switched, err := s.switched(ctx)
	if err != nil {
		return err
	}
	what := "undone"
	switch {
	case kind == generation.Collect:
		what, err = "finished", s.finishCollect(ctx)
	case kind == generation.Repair:
		what, err = "finished", s.finishRepair(ctx)
	case kind == generation.FallBack:
		what, err = "finished", s.finishFallBack(ctx)
	case switched:
		what, err = "finished", s.finishSwitched(ctx)
	case kind == generation.Rollback:
		err = s.undoRollback(ctx, interrupted(step))
	case kind == generation.Confirm:
		// Nothing but the switch was to be done, and it was not: the trial goes on.
		err = s.finish(ctx, generation.ResultUndone, interrupted(step))
	default:
		err = s.undo(ctx, interrupted(step))
	}
	if err != nil {
		return err
	}
	r.Actions = append(r.Actions, fmt.Sprintf("The %s of generation %s, cut short in the step %q, was %s.", kind, id, step, what))
	return nil
}

func interrupted(step string) string { return fmt.Sprintf("it was cut short in the step %q", step) }

// switched asks the boot loader whether the operation's switch was made.
func (s *session) switched(ctx context.Context) (bool, error) {
	op := s.journal.Operation
	if op.Undoing {
		return false, nil
	}
	state, err := s.Boot.State(ctx)
	if err != nil {
		return false, err
	}
	id := string(op.Generation.ID)
	if op.Kind != generation.Apply {
		return state.Default == id, nil
	}
	if state.Trial == id {
		return true, nil
	}
	// A one-shot trial is used up by the boot that it caused.
	booted, err := s.FS.Booted(ctx, s.CommandLine)
	if errors.Is(err, sdk.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if op.Generation.Root != "" && booted.Identity == op.Generation.Root {
		return true, nil
	}
	// Either the switch was not made, or power went right after it and the one
	// trial failed as well. Both end the same way: the old pair runs, undone.
	return false, nil
}

// finishSwitched records an operation whose switch was made.
func (s *session) finishSwitched(ctx context.Context) error {
	switch s.journal.Operation.Kind {
	case generation.Apply:
		return s.finishApply(ctx)
	case generation.Confirm:
		return s.finishConfirm(ctx)
	case generation.Rollback:
		return s.finishRollback(ctx)
	case generation.Init:
		return s.finishInit(ctx)
	}
	return fmt.Errorf("the operation %q has no switch", s.journal.Operation.Kind)
}

// judge compares what was booted with the trial in the journal.
func (s *session) judge(ctx context.Context, r *Recovered) error {
	trial := s.journal.Trial
	if trial == nil {
		return nil
	}
	if s.Live() && trial.BootID == s.BootID {
		return nil // not rebooted since it was armed
	}
	booted, subvolume, err := s.booted(ctx)
	if err != nil {
		return err
	}
	if booted != nil && booted.ID == trial.ID {
		r.OnTrial = booted
		return nil
	}
	state, err := s.Boot.State(ctx)
	if err != nil {
		return err
	}
	reason := fmt.Sprintf("the boot loader came back to %s: the trial boot did not succeed", describeBoot(booted, subvolume))
	if state.Trial == string(trial.ID) {
		reason = fmt.Sprintf("%s was booted while the trial was still armed: the boot loader did not try it", describeBoot(booted, subvolume))
	}
	if err := s.fallBack(ctx, reason); err != nil {
		return err
	}
	r.Actions = append(r.Actions, fmt.Sprintf("Generation %s was rolled back and is marked failed: %s.", trial.ID, reason))
	return nil
}

func describeBoot(g *generation.Generation, subvolume sdk.Subvolume) string {
	if g == nil {
		return describe(subvolume)
	}
	return fmt.Sprintf("generation %s (%s)", g.ID, g.Version)
}

// repairNames makes the names of the layout stand for what the journal says, where
// something else moved them.
func (s *session) repairNames(ctx context.Context, r *Recovered) error {
	wrong, err := s.wrongNames(ctx)
	if err != nil || len(wrong) == 0 {
		return err
	}
	err = s.startOperation(generation.Operation{
		Kind: generation.Repair, Generation: *s.journal.Find(s.journal.Roles.Root),
		Before: s.journal.Roles, After: s.journal.Roles, Reason: strings.Join(wrong, "; "),
	})
	if err != nil {
		return err
	}
	if err := s.finishRepair(ctx); err != nil {
		return err
	}
	r.Actions = append(r.Actions, fmt.Sprintf("Put right: %s.", strings.Join(wrong, "; ")))
	return nil
}

// finishRepair arranges the names, from wherever that was cut short.
func (s *session) finishRepair(ctx context.Context) error {
	op := s.journal.Operation
	if err := s.arrange(ctx, op.After); err != nil {
		return err
	}
	return s.finish(ctx, generation.ResultDone, op.Reason)
}

// wrongNames says which names of the layout are not what the journal says.
func (s *session) wrongNames(ctx context.Context) ([]string, error) {
	var wrong []string
	roles := s.journal.Roles
	root, err := s.rootOf(roles.Root)
	if err != nil {
		return nil, err
	}
	have, err := s.FS.Lookup(ctx, generation.RootName)
	if err != nil && !errors.Is(err, sdk.ErrNotFound) {
		return nil, err
	}
	if have.Identity != root {
		wrong = append(wrong, fmt.Sprintf("%s was not the root of generation %s", generation.RootName, roles.Root))
	}
	for _, role := range []struct {
		name string
		id   generation.ID
	}{{generation.CurrentName, roles.Current}, {generation.PreviousName, roles.Previous}} {
		if role.id == "" {
			continue
		}
		copied, err := s.FS.Lookup(ctx, role.name)
		if err != nil && !errors.Is(err, sdk.ErrNotFound) {
			return nil, err
		}
		if g := s.journal.Find(role.id); err != nil || !copied.ReadOnly || g == nil || copied.Origin != g.Pristine {
			wrong = append(wrong, fmt.Sprintf("%s was not a read-only copy of generation %s", role.name, role.id))
		}
	}
	standard, err := s.FS.Default(ctx)
	if err != nil && !errors.Is(err, sdk.ErrNotFound) {
		return nil, err
	}
	if standard.Identity != root {
		wrong = append(wrong, fmt.Sprintf("the default subvolume was not %s", generation.RootName))
	}
	return wrong, nil
}
