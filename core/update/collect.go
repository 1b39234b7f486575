package update

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// failedPolicy says what collecting does with generations that failed.
type failedPolicy bool

const (
	keepFailed failedPolicy = true  // the latest stays, as evidence
	dropFailed failedPolicy = false // all go, to make room; their records stay
)

// Collected says what Collect removed.
type Collected struct {
	Removed []generation.Generation
}

// Collect removes the generations beyond what the configuration keeps: the trees
// and the kernel set of each together.
func (m *Machine) Collect(ctx context.Context) (*Collected, error) {
	s, err := m.begin(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	if err := s.requireSettled(ctx); err != nil {
		return nil, explain(fmt.Errorf("cannot remove old generations: %w", err), nothingChanged)
	}
	before := s.present()
	if err := s.collect(ctx, keepFailed); err != nil {
		return nil, explain(fmt.Errorf("cannot remove old generations: %w", err), "What was removed before stays removed; what runs and what boots next was not touched.")
	}
	collected := &Collected{}
	for _, g := range before {
		if have := s.journal.Find(g.ID); have == nil || !have.Present() {
			collected.Removed = append(collected.Removed, g)
		}
	}
	return collected, nil
}

// tidy removes what is not kept after something else was done, whose success does
// not depend on it.
func (s *session) tidy(ctx context.Context, failed failedPolicy) {
	if err := s.collect(ctx, failed); err != nil {
		s.Reporter.Message(fmt.Sprintf("old generations were not removed: %v", err))
	}
}

// present lists the generations whose trees are there.
func (s *session) present() []generation.Generation {
	var all []generation.Generation
	for _, g := range s.journal.Generations {
		if g.Pristine != "" || g.Root != "" {
			all = append(all, g)
		}
	}
	return all
}

// hasFailedTrees reports whether failed generations take up room.
func (s *session) hasFailedTrees() bool {
	for _, g := range s.present() {
		if g.State == generation.Failed {
			return true
		}
	}
	return false
}

// collect removes what surplus lists.
func (s *session) collect(ctx context.Context, failed failedPolicy) error {
	surplus, err := s.surplus(ctx, failed)
	if err != nil {
		return err
	}
	for _, id := range surplus {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped: %w", context.Cause(ctx))
		}
		if err := s.collectOne(ctx, *s.journal.Find(id)); err != nil {
			return err
		}
	}
	return s.pruneFailed()
}

// How much is remembered of what failed.
const (
	keptRecords  = 16 // failed generations in the journal: their content is refused
	keptEvidence = 3  // failed generations with evidence
)

// pruneFailed forgets failed generations beyond the latest, and removes their evidence.
// The record goes first, in one write: a crash leaves evidence of nobody, which goes
// the next time.
func (s *session) pruneFailed() error {
	var kept []string
	if s.journal.Trial != nil {
		kept = append(kept, string(s.journal.Trial.ID))
	}
	var forgotten []generation.ID
	failed := 0
	for _, g := range slices.Backward(s.journal.Generations) {
		if g.State != generation.Failed {
			continue
		}
		failed++
		if failed <= keptEvidence {
			kept = append(kept, string(g.ID))
		}
		if failed > keptRecords && g.Pristine == "" && g.Root == "" {
			forgotten = append(forgotten, g.ID)
		}
	}
	if len(forgotten) > 0 {
		for _, id := range forgotten {
			s.forget(id)
		}
		if err := s.save(); err != nil {
			return err
		}
	}
	if err := s.evidence.Prune(kept); err != nil {
		s.Reporter.Message(err.Error()) // it is in nobody's way
	}
	return nil
}

// surplus lists the generations that may go, oldest first. What runs, what boots
// next, what boots by default and what is on trial is never among them.
func (s *session) surplus(ctx context.Context, failed failedPolicy) ([]generation.ID, error) {
	booted, _, err := s.booted(ctx)
	if err != nil {
		return nil, err
	}
	keep := map[generation.ID]bool{s.journal.Roles.Root: true, s.journal.Roles.Current: true, s.journal.Default: true}
	if booted != nil {
		keep[booted.ID] = true
	}
	if s.journal.Trial != nil {
		keep[s.journal.Trial.ID] = true
		keep[s.journal.Trial.Before.Previous] = true
	}
	present := s.present()
	s.keepGood(keep, present)
	if failed == keepFailed {
		for i := len(present) - 1; i >= 0; i-- {
			if present[i].State == generation.Failed {
				keep[present[i].ID] = true
				break
			}
		}
	}
	var surplus []generation.ID
	for _, g := range present {
		if !keep[g.ID] {
			surplus = append(surplus, g.ID)
		}
	}
	return surplus, nil
}

// keepGood adds good generations to keep, previous first and then the newest,
// until there are as many as the configuration asks for.
func (s *session) keepGood(keep map[generation.ID]bool, present []generation.Generation) {
	good := 0
	for _, g := range present {
		if keep[g.ID] && g.State == generation.Good {
			good++
		}
	}
	candidates := []generation.ID{s.journal.Roles.Previous}
	for i := len(present) - 1; i >= 0; i-- {
		if present[i].State == generation.Good && !present[i].Removing {
			candidates = append(candidates, present[i].ID)
		}
	}
	for _, id := range candidates {
		if id != "" && !keep[id] && good < s.Policy.Keep {
			keep[id] = true
			good++
		}
	}
}

// collectOne removes one generation, as an operation of its own, which a signal
// does not stop: it is short. Where it fails, what is left of the generation stays
// in the journal and is collected the next time.
func (s *session) collectOne(ctx context.Context, g generation.Generation) error {
	err := s.startOperation(generation.Operation{
		Kind: generation.Collect, Generation: g, Before: s.journal.Roles, After: withoutPrevious(s.journal.Roles, g.ID),
	})
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	err = s.finishCollect(ctx)
	if err == nil {
		return nil
	}
	s.journal.Put(s.journal.Operation.Generation)
	if endErr := s.finish(ctx, generation.ResultFailed, err.Error()); endErr != nil {
		return &Error{Class: Unclear, Err: errors.Join(err, endErr), State: needsRecover}
	}
	return err
}

// resumeCollect goes on with a removal that was cut short, unless the generation
// was booted (from the boot loader's menu) meanwhile.
func (s *session) resumeCollect(ctx context.Context) error {
	op := s.journal.Operation
	runs, err := s.runsFrom(ctx, op.Generation)
	if err != nil {
		return err
	}
	if runs {
		s.journal.Put(op.Generation)
		return s.finish(ctx, generation.ResultFailed, "the generation runs")
	}
	return s.finishCollect(ctx)
}

// withoutPrevious gives the roles after generation id is gone.
func withoutPrevious(roles generation.Roles, id generation.ID) generation.Roles {
	if roles.Previous == id {
		roles.Previous = ""
	}
	return roles
}

// finishCollect takes the steps of removing the generation in flight, from
// wherever it was cut short.
func (s *session) finishCollect(ctx context.Context) error {
	op := s.journal.Operation
	err := s.step(ctx, stepPrevious, func(ctx context.Context) error {
		if op.After.Previous == op.Before.Previous {
			return nil
		}
		return s.arrangeCopy(ctx, generation.PreviousName, op.After.Previous)
	})
	if err == nil {
		s.journal.Roles = op.After
		err = s.removeGeneration(ctx, &op.Generation)
	}
	if errors.Is(err, sdk.ErrBusy) {
		// Somebody's data may be in it (nested subvolumes): it stays, the update
		// does not depend on it.
		s.Reporter.Message(err.Error())
		s.journal.Put(op.Generation)
		return s.finish(ctx, generation.ResultFailed, err.Error())
	}
	if err != nil {
		return err
	}
	if op.Generation.State == generation.Failed {
		s.journal.Put(op.Generation) // the record stays: its bundle is not tried again
	} else {
		s.forget(op.Generation.ID)
	}
	return s.finish(ctx, generation.ResultDone, "")
}
