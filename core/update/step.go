package update

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/trebuchet-update/tbupdate/core/generation"
)

// Step names one step of an operation in the journal.
type Step string

// The steps. Operations take those that they need, in this order.
const (
	stepClear      Step = "clear"       // remove what an earlier attempt left under the working name
	stepSnapshot   Step = "snapshot"    // current → new
	stepState      Step = "state"       // move state directories into subvolumes of their own
	stepDeploy     Step = "deploy"      // the payload into new
	stepSeal       Step = "seal"        // digest, flush, read-only
	stepName       Step = "name"        // new → its id
	stepCopy       Step = "copy"        // the writable copy that the generation runs from
	stepStage      Step = "stage"       // the kernel set
	stepPrevious   Step = "previous"    // previous is what current was
	stepCurrent    Step = "current"     // current is a copy of the new one
	stepRoot       Step = "root"        // exchange the writable copy with the old root
	stepPark       Step = "park"        // name writable copies that are not root after their generation
	stepSetDefault Step = "set-default" // default subvolume
	stepArm        Step = "arm"         // the switch: one boot of the new pair
	stepSwitch     Step = "switch"      // the switch: a confirmed pair becomes the boot loader's default
	stepDisarm     Step = "disarm"      // take a trial back
	stepUnstage    Step = "unstage"     // remove the kernel set
	stepRemove     Step = "remove"      // remove the trees
	stepBoot       Step = "boot"        // note that a trial has come up
	stepRecord     Step = "record"      // note why a boot of a trial is given up
	stepEvidence   Step = "evidence"    // keep what says why
)

// startOperation records that an operation begins. Nothing was done before, so a
// crash here leaves nothing to undo; and where it fails, nothing is in flight.
func (s *session) startOperation(op generation.Operation) error {
	op.Started = s.Now().UTC()
	s.journal.Operation = &op
	err := s.save()
	if err == nil {
		return nil
	}
	s.journal.Operation = nil
	// The write may have come as far as the new name (then only its flush failed).
	if onDisk, readErr := s.store.Load(); readErr != nil || onDisk.Operation != nil {
		return &Error{Class: Unclear, Err: err, State: needsRecover}
	}
	return err
}

// step takes one step of the operation in flight: the intent is durable before
// anything happens, which closes the window in which a crash would leave a change
// that the journal does not know of. What act notes in the journal is durable when
// step returns.
func (s *session) step(ctx context.Context, step Step, act func(context.Context) error) error {
	op := s.journal.Operation
	op.Step = string(step)
	if err := s.save(); err != nil && !op.Undoing {
		return err
	}
	// While undoing, a journal that cannot be written (the disk is full) must not
	// keep from doing what makes room: the record that is there leads Recover to
	// the same undoing.
	s.Reporter.Step(op.Kind, step, Intended)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("stopped before the step %q: %w", step, context.Cause(ctx))
	}
	if err := act(ctx); err != nil {
		return err
	}
	s.Reporter.Step(op.Kind, step, Acted)
	if err := s.save(); err != nil && !op.Undoing {
		return err
	}
	s.Reporter.Step(op.Kind, step, Recorded)
	return nil
}

// note does what changes nothing but the updater's own notes, outside of an operation:
// one write of the journal, or files that are whole or not there. There is nothing to
// undo or to finish, so no intent is recorded.
func (s *session) note(step Step, act func()) {
	s.Reporter.Step(generation.Judge, step, Intended)
	act()
	s.Reporter.Step(generation.Judge, step, Acted)
	s.Reporter.Step(generation.Judge, step, Recorded)
}

// planned is a step and what it does.
type planned struct {
	step Step
	act  func(context.Context) error
}

// take takes steps one after the other, up to the first that fails.
func (s *session) take(ctx context.Context, steps []planned) error {
	for _, next := range steps {
		if err := s.step(ctx, next.step, next.act); err != nil {
			return err
		}
	}
	return nil
}

// finish records the end of the operation.
func (s *session) finish(ctx context.Context, result, reason string) error {
	op := s.journal.Operation
	s.journal.Operation = nil
	if err := s.saveEventually(ctx); err != nil {
		s.journal.Operation = op
		return err
	}
	s.record(op.Kind, op.Generation, result, reason)
	return nil
}

// Room that was freed by deleting subvolumes comes back a little later.
const (
	roomAttempts = 60
	roomPause    = 500 * time.Millisecond
)

// saveEventually saves the journal, and while the volume has no room waits for
// what was deleted to give some back.
func (s *session) saveEventually(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		err := s.save()
		if err == nil || !errors.Is(err, syscall.ENOSPC) || attempt == roomAttempts {
			return err
		}
		if err := s.FS.Flush(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(roomPause):
		}
	}
}

// Describe says in a few words what the step does, for people who watch.
func (s Step) Describe() string {
	if text, ok := map[Step]string{
		stepClear:      "clearing the work place",
		stepSnapshot:   "taking a snapshot to work in",
		stepState:      "moving state directories into subvolumes of their own",
		stepDeploy:     "writing the new version into the snapshot",
		stepSeal:       "measuring the new tree and sealing it",
		stepName:       "naming the new generation",
		stepCopy:       "making the copy that it runs from",
		stepStage:      "installing its kernel",
		stepPrevious:   "rotating: previous",
		stepCurrent:    "rotating: current",
		stepRoot:       "rotating: root",
		stepPark:       "naming what is not root",
		stepSetDefault: "setting the default subvolume",
		stepArm:        "arming the boot loader for one trial boot",
		stepSwitch:     "making it the boot loader's default",
		stepDisarm:     "taking the trial back",
		stepUnstage:    "removing the kernel",
		stepRemove:     "removing the trees",
		stepBoot:       "noting that the trial has come up",
		stepRecord:     "noting why the trial is given up",
		stepEvidence:   "keeping what says why",
	}[s]; ok {
		return text
	}
	return string(s)
}
