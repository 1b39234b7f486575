package update

import (
	"context"
	"errors"
	"fmt"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// InitOptions are what the operator says about taking a system into the layout.
type InitOptions struct {
	// Version of the installed system; "" takes it from its os-release.
	Version string
	// From is the name of the subvolume that holds the installed system; "" is
	// what was booted.
	From string
	// State lists directories ("/var") that move into subvolumes of their own.
	State []string
}

// Initialised says what Init did.
type Initialised struct {
	Generation generation.Generation
	// Already is true when the system was in the layout before, and nothing was
	// changed.
	Already bool
	// Reboot is true when another root than snapshots/root runs now.
	Reboot bool
}

// Init takes an installed system into the layout: its tree becomes the first
// generation, with a writable copy as root and an entry of its own, which becomes
// the boot loader's default. The subvolume that it came from stays as it is (and
// becomes root itself if it is snapshots/root already). Where it was done before,
// nothing is changed.
func (m *Machine) Init(ctx context.Context, options InitOptions) (*Initialised, error) {
	if len(options.State) > 0 && m.Live() {
		return nil, &Error{Class: Usage, State: nothingChanged,
			Err: errors.New("cannot move state directories of the running system: they are in use; do it on an offline image")}
	}
	state, err := checkStateDirectories(options.State)
	if err != nil {
		return nil, &Error{Class: Usage, Err: err, State: nothingChanged}
	}
	options.State = state
	if err := m.FS.Prepare(ctx); err != nil {
		return nil, explain(fmt.Errorf("cannot prepare the volume: %w", err), nothingChanged)
	}
	s, err := m.begin(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	if root := s.journal.Find(s.journal.Roles.Root); root != nil {
		return &Initialised{Generation: *root, Already: true}, nil
	}
	if op := s.journal.Operation; op != nil {
		if err := s.recoverOperation(ctx, &Recovered{}); err != nil {
			return nil, &Error{Class: Unclear, Err: fmt.Errorf("cannot undo an earlier init: %w", err), State: needsRecover}
		}
		if root := s.journal.Find(s.journal.Roles.Root); root != nil {
			return &Initialised{Generation: *root, Reboot: s.Live()}, nil
		}
	}
	from, err := s.installedSystem(ctx, options.From)
	if err != nil {
		return nil, explain(fmt.Errorf("cannot find the installed system: %w", err), nothingChanged)
	}
	g, err := s.initialise(ctx, from, options)
	if err != nil {
		return nil, err
	}
	return &Initialised{Generation: g, Reboot: from.Identity != g.Root}, nil
}

// installedSystem finds the subvolume that holds the system.
func (s *session) installedSystem(ctx context.Context, name string) (sdk.Subvolume, error) {
	if name != "" {
		return s.FS.Lookup(ctx, name)
	}
	return s.FS.Booted(ctx, s.CommandLine)
}

// initialise runs the operation, and undoes it when it fails.
func (s *session) initialise(ctx context.Context, from sdk.Subvolume, options InitOptions) (generation.Generation, error) {
	standard, err := s.FS.Default(ctx)
	if err != nil && !errors.Is(err, sdk.ErrNotFound) {
		return generation.Generation{}, explain(err, nothingChanged)
	}
	id := generation.NewID()
	adopted := from.Name == generation.RootName && len(options.State) == 0
	if err := s.checkNamesFree(ctx, adopted); err != nil {
		return generation.Generation{}, explain(err, nothingChanged)
	}
	g := generation.Generation{ID: id, State: generation.Staged, Version: options.Version, Source: "init", InstalledAt: s.Now().UTC()}
	if adopted {
		g.Root = from.Identity
	}
	err = s.startOperation(generation.Operation{
		Kind: generation.Init, Generation: g, DefaultRoot: standard.Identity, Adopted: adopted,
		After: generation.Roles{Root: id, Current: id},
	})
	if err == nil {
		err = s.takeIn(ctx, from, options)
	}
	if err == nil {
		err = s.arrange(ctx, s.journal.Operation.After)
	}
	if err == nil {
		err = s.switchTo(ctx, id)
	}
	if err != nil {
		if err := s.giveUp(ctx, fmt.Errorf("cannot take %s into the layout: %w", describe(from), err)); err != nil {
			return g, err
		}
		return *s.journal.Find(id), nil
	}
	if err := s.finishInit(context.WithoutCancel(ctx)); err != nil {
		return g, &Error{Class: Unclear, Err: err, State: `The next boot starts the new root; run "tbupdate init" again to bring the journal up to date.`}
	}
	return *s.journal.Find(id), nil
}

// checkNamesFree refuses to take a system in where the names of the layout stand for
// something that the journal does not know and that could not be had again.
func (s *session) checkNamesFree(ctx context.Context, adopted bool) error {
	for _, name := range []string{generation.RootName, generation.CurrentName, generation.PreviousName, generation.NewName} {
		if name == generation.RootName && adopted {
			continue
		}
		have, err := s.FS.Lookup(ctx, name)
		if errors.Is(err, sdk.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if name == generation.RootName {
			return fmt.Errorf("cannot take the system into the layout: %s exists already; name it with --from, or remove it", name)
		}
		spare, err := s.isSpare(ctx, have)
		if err != nil {
			return err
		}
		if !spare {
			return fmt.Errorf("cannot take the system into the layout: %s exists already, and is not a copy of a generation; rename or remove it", name)
		}
	}
	return nil
}

// isSpare reports whether a subvolume is an unchanged copy of a pristine tree that
// is there, so that it can be made again: that is what a lost journal leaves.
func (s *session) isSpare(ctx context.Context, copied sdk.Subvolume) (bool, error) {
	if !copied.ReadOnly || copied.Origin == "" {
		return false, nil
	}
	origin, err := s.FS.Get(ctx, copied.Origin)
	if errors.Is(err, sdk.ErrNotFound) {
		return false, nil
	}
	return err == nil && origin.ReadOnly && looksLikeGeneration(origin.Name), err
}

// takeIn makes the trees and the kernel set of the first generation.
func (s *session) takeIn(ctx context.Context, from sdk.Subvolume, options InitOptions) error {
	g := &s.journal.Operation.Generation
	var work sdk.Subvolume
	return s.take(ctx, []planned{
		{stepClear, func(ctx context.Context) error { return s.deleteName(ctx, generation.NewName) }},
		{stepSnapshot, func(ctx context.Context) (err error) {
			work, err = s.FS.Snapshot(ctx, from.Identity, generation.NewName, false)
			return err
		}},
		{stepState, func(ctx context.Context) error { return s.moveState(ctx, work, options.State) }},
		{stepSeal, func(ctx context.Context) error { return s.seal(ctx, work, &offer{}, ApplyOptions{Force: true}) }},
		{stepName, func(ctx context.Context) error {
			g.Pristine = work.Identity
			return s.FS.Rename(ctx, work.Identity, g.ID.PristineName())
		}},
		{stepCopy, func(ctx context.Context) error {
			if s.journal.Operation.Adopted {
				return nil
			}
			return s.makeWritable(ctx)
		}},
		{stepStage, func(ctx context.Context) error { return s.stage(ctx) }},
	})
}

// finishInit brings the journal up to date after the switch.
func (s *session) finishInit(ctx context.Context) error {
	op := s.journal.Operation
	op.Generation.State = generation.Good
	op.Generation.ConfirmedAt = s.Now().UTC()
	s.journal.Put(op.Generation)
	s.journal.Roles = op.After
	s.journal.Default = op.Generation.ID
	return s.finish(ctx, generation.ResultDone, "")
}
