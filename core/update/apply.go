package update

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/trebuchet-update/tbupdate/core/bundle"
	"github.com/trebuchet-update/tbupdate/core/evidence"
	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/osrelease"
	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/source"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// ApplyOptions are what the operator says about one update.
type ApplyOptions struct {
	// AllowUnsigned accepts a bare tbdiff stream, which nobody has signed.
	AllowUnsigned bool
	// Force installs what is known to have failed on this machine.
	Force bool
	// DryRun checks all that can be checked without changing anything.
	DryRun bool
	// Version names the new version; "" takes it from the new tree's os-release.
	Version string
	// AllowDowngrade installs a bundle that is older than what was confirmed.
	AllowDowngrade bool
	// VerifyFull reads the whole current tree, also where the filesystem says that
	// nothing was changed in it.
	VerifyFull bool
	// Full takes the payload that makes the whole tree, also where there is a delta.
	Full bool
	// Repair takes it where the current tree turns out not to be what the delta starts
	// from, by what was changed in it or by a damaged disk. It is for bundles.
	Repair bool
	// Origin is the digest that the current tree must have, Result the one that
	// the new tree must have; "" asks for nothing.
	Origin, Result string
}

// Applied says what Apply did.
type Applied struct {
	Generation generation.Generation
	BytesRead  int64
	Took       time.Duration
}

// Apply builds a new generation from the payload, installs it beside the running
// one, and arms the boot loader to try it once. The running system goes on
// untouched. On any error, and when ctx is cancelled before the switch, everything
// is undone. With DryRun it reads and checks the payload, and changes nothing.
func (m *Machine) Apply(ctx context.Context, payload *source.Source, options ApplyOptions) (*Applied, error) {
	began := m.Now()
	s, err := m.begin(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	done, err := s.install(ctx, payload, options)
	if drifted(err) && s.journal.Operation == nil && !options.AllowUnsigned && !options.Full {
		done, err = s.takeWhole(ctx, payload, options, err)
	}
	if err != nil {
		return nil, err
	}
	done.Took = m.Now().Sub(began)
	return done, nil
}

// install is Apply within a session.
func (s *session) install(ctx context.Context, payload *source.Source, options ApplyOptions) (*Applied, error) {
	o, err := s.prepareApply(ctx, payload, options)
	if err == nil && options.DryRun {
		err = o.drain()
	}
	if err != nil {
		return nil, explain(fmt.Errorf("cannot apply %s: %w", payload.Name, err), nothingChanged)
	}
	if options.DryRun {
		return &Applied{BytesRead: o.read()}, nil
	}
	g, err := s.apply(ctx, payload.Name, o, options)
	if err != nil {
		return nil, err
	}
	return &Applied{Generation: g, BytesRead: o.read()}, nil
}

// errChanged says that a tree is not what was sealed.
var errChanged = errors.New("it was changed since, or the disk is damaged")

// drifted reports whether an update failed since the current tree is not what it was made
// for. A disk that gives back other bytes than it was given is one case: btrfs knows that
// by its checksums, and gives none.
func drifted(err error) bool {
	if bundle := (*source.ReadError)(nil); errors.As(err, &bundle) {
		return false
	}
	return errors.Is(err, errChanged) || errors.Is(err, rootfs.ErrOriginMismatch) || errors.Is(err, syscall.EIO)
}

// takeWhole installs the whole tree after the delta failed for what cause says; it says how
// where that was not asked for.
func (s *session) takeWhole(ctx context.Context, payload *source.Source, options ApplyOptions, cause error) (*Applied, error) {
	var e *Error
	if !errors.As(cause, &e) {
		return nil, cause
	}
	if !options.Repair {
		return nil, &Error{e.Class, e.Err, e.State + ` With --repair all of the new tree is taken from the bundle then.`}
	}
	if payload.Again == nil {
		return nil, &Error{e.Class, e.Err, e.State + ` The bundle came from where it cannot be read again: give it once more, with --full.`}
	}
	s.Reporter.Message(fmt.Sprintf("%v; taking all of the new tree", e.Err))
	again, err := payload.Again(ctx)
	if err != nil {
		return nil, explain(err, e.State)
	}
	defer again.Close()
	options.Full = true
	return s.install(ctx, again, options)
}

// prepareApply opens the payload, removes what the configuration does not keep, and makes
// sure that the machine is ready. Where the room does not suffice, the evidence of failed
// generations has to go before the update is refused.
func (s *session) prepareApply(ctx context.Context, payload *source.Source, options ApplyOptions) (*offer, error) {
	if err := s.checkIdle(ctx); err != nil {
		return nil, err
	}
	if err := s.checkKnownAhead(ctx, payload, options); err != nil {
		return nil, err
	}
	current, err := s.checkReady(ctx, options)
	if err != nil {
		return nil, err
	}
	o, err := s.openOffer(ctx, payload, current, options)
	if err != nil {
		return nil, err
	}
	if options.DryRun {
		return o, s.checkRoom(ctx, current, o)
	}
	if err := s.collect(ctx, keepFailed); err != nil {
		return nil, err
	}
	err = s.checkRoom(ctx, current, o)
	if err == nil || classify(err) != NoRoom || !s.hasFailedTrees() {
		return o, err
	}
	if err := s.collect(ctx, dropFailed); err != nil {
		return nil, err
	}
	return o, s.checkRoom(ctx, current, o)
}

// apply runs the operation, and undoes it when it fails.
func (s *session) apply(ctx context.Context, name string, o *offer, options ApplyOptions) (generation.Generation, error) {
	id := generation.NewID()
	err := s.startOperation(generation.Operation{
		Kind:   generation.Apply,
		Before: s.journal.Roles,
		After:  s.journal.Roles.After(id),
		Generation: generation.Generation{
			ID: id, State: generation.Staged, Version: o.version(options), Source: name, Signed: o.manifest != nil, InstalledAt: s.Now().UTC(),
		},
	})
	if err == nil {
		err = s.build(ctx, o, options)
	}
	if err == nil {
		err = s.arrange(ctx, s.journal.Operation.After)
	}
	if err == nil {
		err = s.arm(ctx)
	}
	if err != nil {
		err = s.giveUp(ctx, fmt.Errorf("cannot apply %s: %w", name, err))
		if classify(err) == NoRoom && s.hasFailedTrees() {
			// How much it takes turned out on the way: the next attempt has more.
			s.Reporter.Message("removing what is left of failed generations, to make room")
			s.tidy(ctx, dropFailed)
		}
		return generation.Generation{}, err
	}
	// The switch is made: from here on a signal comes too late.
	g := s.journal.Operation.Generation
	if err := s.finishApply(context.WithoutCancel(ctx)); err != nil {
		return g, &Error{Class: Unclear, Err: fmt.Errorf("cannot record that %s is armed: %w", name, err),
			State: `The next boot tries the new generation; run "tbupdate recover" to bring the journal up to date.`}
	}
	return g, nil
}

// build makes the new generation: its trees and its kernel set.
func (s *session) build(ctx context.Context, o *offer, options ApplyOptions) error {
	g := &s.journal.Operation.Generation
	var work sdk.Subvolume
	return s.take(ctx, []planned{
		{stepClear, func(ctx context.Context) error { return s.deleteName(ctx, generation.NewName) }},
		{stepSnapshot, func(ctx context.Context) (err error) {
			current, err := s.FS.Lookup(ctx, generation.CurrentName)
			if err != nil {
				return err
			}
			work, err = s.FS.Snapshot(ctx, current.Identity, generation.NewName, false)
			return err
		}},
		{stepDeploy, func(ctx context.Context) error {
			if err := o.deploy(ctx, work.Path); err != nil {
				return err
			}
			// The reader of the format made sure that nothing follows its end.
			g.Payload = o.digest()
			return s.checkKnown(options, "", g.Payload, "")
		}},
		{stepSeal, func(ctx context.Context) error { return s.seal(ctx, work, o, options) }},
		{stepName, func(ctx context.Context) error {
			g.Pristine = work.Identity
			return s.FS.Rename(ctx, work.Identity, g.ID.PristineName())
		}},
		{stepCopy, func(ctx context.Context) error { return s.makeWritable(ctx) }},
		{stepStage, func(ctx context.Context) error { return s.stage(ctx) }},
	})
}

// deleteName removes the subvolume that has this name, if any has.
func (s *session) deleteName(ctx context.Context, name string) error {
	have, err := s.FS.Lookup(ctx, name)
	if errors.Is(err, sdk.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.FS.Delete(ctx, have.Identity)
}

// seal measures the new tree and makes it read-only. The digests are taken before
// the flush: what is sealed is what was measured, since nobody else knows of the
// tree.
func (s *session) seal(ctx context.Context, work sdk.Subvolume, o *offer, options ApplyOptions) error {
	g := &s.journal.Operation.Generation
	digests, err := tree.ReadDigests(ctx, work.Path)
	if err != nil {
		return err
	}
	exact := digests.Exact
	if o.frames != nil && o.frames.Header().Target != exact {
		return refusal(Refused, "the new tree has the digest %s instead of %s", bundle.Digest(exact), bundle.Digest(o.frames.Header().Target))
	}
	g.Tree, g.Exact = digests.Classic, bundle.Digest(exact).String()
	if options.Result != "" && options.Result != g.Tree && options.Result != g.Exact {
		return refusal(Refused, "the new tree has the digest %s instead of %s", g.Tree, options.Result)
	}
	if g.Version == "" {
		if g.Version, err = versionOf(work.Path); err != nil {
			return err
		}
	}
	if err := s.checkKnown(options, g.Tree, "", g.Version); err != nil {
		return err
	}
	if err := s.FS.Seal(ctx, work.Identity); err != nil {
		return err
	}
	sealed, err := s.FS.Get(ctx, work.Identity)
	g.Revision = sealed.Revision
	return err
}

// makeWritable makes the copy of the pristine tree that the generation runs from.
func (s *session) makeWritable(ctx context.Context) error {
	g := &s.journal.Operation.Generation
	writable, err := s.FS.Snapshot(ctx, g.Pristine, g.ID.WritableName(), false)
	if err != nil {
		return err
	}
	g.Root = writable.Identity
	return nil
}

// stage installs the kernel set of the generation in flight, pinned to its
// writable copy.
func (s *session) stage(ctx context.Context) error {
	g := &s.journal.Operation.Generation
	pristine, err := s.FS.Get(ctx, g.Pristine)
	if err != nil {
		return err
	}
	arguments, trial, err := s.arguments(ctx, g.ID, pristine.Path, g.Root)
	if err != nil {
		return err
	}
	set, err := s.Boot.Install(ctx, sdk.Entry{
		ID: string(g.ID), Title: strings.TrimSpace("Version " + g.Version), Root: pristine.Path,
		Arguments: arguments, TrialArguments: trial,
	})
	if err != nil {
		return err
	}
	g.Kernel = set.Version
	return nil
}

// arm makes the switch. It is the last step: until its last write is on the disk
// the machine boots the old pair, after it the new one, once.
func (s *session) arm(ctx context.Context) error {
	op := s.journal.Operation
	s.journal.Trial = &generation.TrialRun{
		ID: op.Generation.ID, Tries: s.Policy.Tries, ArmedAt: s.Now().UTC(), BootID: s.BootID, Before: op.Before,
		Crashes: evidence.Crashes(s.Sources.Crashes),
	}
	s.journal.Put(op.Generation)
	return s.step(ctx, stepArm, func(ctx context.Context) error {
		// A signal must not stop it half-way: it could no longer be said which of
		// the two pairs boots.
		return s.Boot.Arm(context.WithoutCancel(ctx), string(op.Generation.ID), s.Policy.Tries)
	})
}

// finishApply brings the journal up to date after the switch.
func (s *session) finishApply(ctx context.Context) error {
	op := s.journal.Operation
	op.Generation.State = generation.Trial
	s.journal.Put(op.Generation)
	s.journal.Roles = op.After
	return s.finish(ctx, generation.ResultDone, "")
}

// versionOf gives the version that a tree states, or unknownVersion.
func versionOf(path string) (string, error) {
	version, err := osrelease.Version(path)
	return cmp.Or(version, unknownVersion), err
}

// drain reads a stream to its end and forgets it.
func drain(reader *tbdiff.Reader) error {
	for {
		if _, err := reader.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// countingReader reports how far reading has come.
type countingReader struct {
	reader io.Reader
	read   int64
	total  int64
	report func(read, total int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.reader.Read(p)
	c.read += int64(n)
	c.report(c.read, c.total)
	return n, err
}
