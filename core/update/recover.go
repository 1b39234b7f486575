package update

import (
	"cmp"
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
	// A signal (the system goes down again while it comes up) does not leave things
	// half done: each of these is short.
	ctx = context.WithoutCancel(ctx)
	r := &Recovered{}
	if err := s.recoverOperation(ctx, r); err != nil {
		return nil, &Error{Class: Unclear, Err: fmt.Errorf("cannot finish or undo what was in flight: %w", err), State: needsRecover}
	}
	if s.journal.Roles.Root == "" {
		err := s.requireLayout(ctx)
		if errors.Is(err, errNotTakenIn) {
			err = nil // an init that was undone, or is still to come
		}
		return r, explain(err, nothingChanged)
	}
	if err := s.judge(ctx, r); err != nil {
		return nil, explainUnsettled(fmt.Errorf("cannot judge the boot: %w", err))
	}
	if err := s.repair(ctx, r); err != nil {
		return nil, explainUnsettled(fmt.Errorf("cannot put the machine right: %w", err))
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
		what, err = "finished", s.resumeCollect(ctx)
	case kind == generation.Repair:
		what, err = "finished", s.finishRepair(ctx)
	case kind == generation.FallBack:
		what, err = "finished", s.finishFallBack(ctx)
	case switched:
		what, err = "finished", s.finishSwitched(ctx)
	default:
		err = s.goBack(ctx, interrupted(step))
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
	if op.Kind == generation.Apply {
		return s.trialMade(ctx)
	}
	if op.Undoing {
		return false, nil
	}
	state, err := s.Boot.State(ctx)
	if err != nil {
		return false, err
	}
	return state.Default == string(op.Generation.ID), nil
}

// trialMade reports whether the generation of the apply in flight was armed, or
// runs already.
func (s *session) trialMade(ctx context.Context) (bool, error) {
	op := s.journal.Operation
	// A one-shot trial is used up by the boot that it caused.
	runs, err := s.runsFrom(ctx, op.Generation)
	if err != nil {
		return false, err
	}
	if runs && op.Undoing && op.Step != string(stepDisarm) {
		return false, refusal(Unclear, "generation %s runs, and its undoing has begun; reboot into the boot loader's default entry", op.Generation.ID)
	}
	if runs || op.Undoing {
		// Power may have gone before an armed trial was taken back: then it has
		// booted, nothing of it was removed, and it is a trial like any other.
		return runs, nil
	}
	state, err := s.Boot.State(ctx)
	if err != nil {
		return false, err
	}
	// If not, either the switch was not made, or power went right after it and the
	// one trial failed as well. Both end the same way: the old pair runs, undone.
	return state.Trial == string(op.Generation.ID), nil
}

// runsFrom reports whether what was booted is this generation's writable copy.
func (s *session) runsFrom(ctx context.Context, g generation.Generation) (bool, error) {
	booted, err := s.FS.Booted(ctx, s.CommandLine)
	if errors.Is(err, sdk.ErrNotFound) {
		return false, nil
	}
	return err == nil && g.Root != "" && booted.Identity == g.Root, err
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
		if trial.Boot(s.BootID) != nil {
			return nil
		}
		s.note(stepBoot, func() {
			if err := s.recordBoot(); err != nil {
				// It is for people: a journal that cannot be written is no reason to
				// give the trial up.
				s.Reporter.Message(err.Error())
			}
		})
		s.keepCrashes() // of the try before this one: the next crash may need the room
		return nil
	}
	state, err := s.Boot.State(ctx)
	if err != nil {
		return err
	}
	s.note(stepEvidence, func() { s.keepFailedBoots(ctx) })
	reason := s.reasonOfFailure(describeBoot(booted, subvolume), state)
	if err := s.fallBack(ctx, reason, false); err != nil {
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

// repair makes the names of the layout and the boot loader's default what the
// journal says, where something else moved them.
func (s *session) repair(ctx context.Context, r *Recovered) error {
	wrong, err := s.wrongNames(ctx)
	if err != nil {
		return err
	}
	standard, err := s.wrongDefault(ctx)
	if err != nil {
		return err
	}
	if wrong = append(wrong, standard...); len(wrong) == 0 {
		return nil
	}
	standing := s.journal.Find(cmp.Or(s.journal.Default, s.journal.Roles.Root))
	err = s.startOperation(generation.Operation{
		Kind: generation.Repair, Generation: *standing,
		Before: s.journal.Roles, After: s.journal.Roles, Reason: strings.Join(wrong, "; "),
	})
	if err != nil {
		return err
	}
	if err := s.finishRepair(ctx); err != nil {
		// Each of its steps stands for itself: what was put right stays so, and
		// nothing is to be undone.
		return errors.Join(err, s.finish(ctx, generation.ResultFailed, err.Error()))
	}
	r.Actions = append(r.Actions, fmt.Sprintf("Put right: %s.", strings.Join(wrong, "; ")))
	return nil
}

// finishRepair arranges the names and sets the default entry, from wherever that was
// cut short.
func (s *session) finishRepair(ctx context.Context) error {
	op := s.journal.Operation
	if err := s.arrange(ctx, op.After); err != nil {
		return err
	}
	wrong, err := s.wrongDefault(ctx)
	if err != nil {
		return err
	}
	if len(wrong) > 0 {
		if err := s.repairDefault(ctx); err != nil {
			return err
		}
	}
	return s.finish(ctx, generation.ResultDone, op.Reason)
}

// repairDefault makes the generation in flight the boot loader's default again. Its
// kernel set is installed anew where it is not whole.
func (s *session) repairDefault(ctx context.Context) error {
	g := s.journal.Operation.Generation
	if err := s.VerifyKernel(ctx, g); unlikeInstalled(err) {
		if err := s.step(ctx, stepStage, s.stage); err != nil {
			return err
		}
		s.journal.Put(s.journal.Operation.Generation)
	} else if err != nil {
		return err
	}
	if wrong, err := s.wrongChoice(ctx); err != nil || len(wrong) == 0 {
		return err // and a trial that is under way has the tries that it has
	}
	return s.switchTo(ctx, g.ID)
}

// wrongDefault says that the boot loader's default is not what the journal says, or could not be booted. Its
// files are read while a trial runs, which may need them next; at other times that is left to Check.
func (s *session) wrongDefault(ctx context.Context) ([]string, error) {
	wrong, err := s.wrongChoice(ctx)
	if err != nil || len(wrong) > 0 || s.journal.Trial == nil {
		return wrong, err
	}
	standing := s.journal.Find(s.journal.Default)
	if standing == nil {
		return nil, nil
	}
	if err := s.VerifyKernel(ctx, *standing); unlikeInstalled(err) {
		return []string{fmt.Sprintf("the boot loader could not have come back to generation %s: %v", standing.ID, err)}, nil
	} else if err != nil {
		return nil, err
	}
	return nil, nil
}

// wrongChoice says that the boot loader's default is not what the journal says, or
// that less than all that should say so does.
func (s *session) wrongChoice(ctx context.Context) ([]string, error) {
	state, err := s.Boot.State(ctx)
	if err != nil || s.journal.Default == "" {
		return nil, err
	}
	if state.Default == string(s.journal.Default) {
		if state.Damage != "" {
			return []string{"the boot loader's choice was damaged: " + state.Damage}, nil
		}
		return nil, nil
	}
	what := "generation " + state.Default
	if state.Default == "" {
		what = state.Foreign
	}
	return []string{fmt.Sprintf("the boot loader's default was %s instead of generation %s", what, s.journal.Default)}, nil
}

// isCopy reports whether name is a read-only, unchanged copy of the generation's pristine
// tree. Where that tree is gone, or was itself changed, nothing better can be had, so that
// what is there counts as one.
func (s *session) isCopy(ctx context.Context, name string, id generation.ID) (bool, error) {
	g, err := s.member(id)
	if err != nil {
		return false, err
	}
	have, err := s.FS.Lookup(ctx, name)
	copied := err == nil && have.ReadOnly && have.Origin == g.Pristine
	if copied && have.Revision == g.Revision {
		return true, nil
	}
	if err != nil && !errors.Is(err, sdk.ErrNotFound) {
		return false, err
	}
	pristine, err := s.FS.Get(ctx, g.Pristine)
	if errors.Is(err, sdk.ErrNotFound) {
		return true, nil
	}
	return copied && pristine.Revision != g.Revision, err
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
		if _, err := s.FS.Get(ctx, root); errors.Is(err, sdk.ErrNotFound) {
			return nil, refusal(Unclear, "the root of generation %s is gone; go back to another generation with \"tbupdate rollback\"", roles.Root)
		} else if err != nil {
			return nil, err
		}
		wrong = append(wrong, fmt.Sprintf("%s was not the root of generation %s", generation.RootName, roles.Root))
	}
	for _, role := range []struct {
		name string
		id   generation.ID
	}{{generation.CurrentName, roles.Current}, {generation.PreviousName, roles.Previous}} {
		if role.id == "" {
			continue
		}
		is, err := s.isCopy(ctx, role.name, role.id)
		if err != nil {
			return nil, err
		}
		if !is {
			wrong = append(wrong, fmt.Sprintf("%s was not a read-only, unchanged copy of generation %s", role.name, role.id))
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
