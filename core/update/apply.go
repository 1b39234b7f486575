package update

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

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
	defer s.end()
	if !options.AllowUnsigned {
		return nil, &Error{Class: Refused, State: nothingChanged,
			Err: fmt.Errorf("cannot apply %s: it is not signed; --allow-unsigned accepts a bare tbdiff stream", payload.Name)}
	}
	if err := s.prepareApply(ctx, payload, options); err != nil {
		return nil, explain(fmt.Errorf("cannot apply %s: %w", payload.Name, err), nothingChanged)
	}
	reader := &countingReader{reader: payload, total: payload.Size, report: m.Reporter.Progress, hash: sha256.New()}
	if options.DryRun {
		if err := drain(tbdiff.NewReader(reader)); err != nil {
			return nil, explain(fmt.Errorf("cannot apply %s: %w", payload.Name, err), nothingChanged)
		}
		return &Applied{BytesRead: reader.read, Took: m.Now().Sub(began)}, nil
	}
	g, err := s.apply(ctx, payload.Name, reader, options)
	if err != nil {
		return nil, err
	}
	return &Applied{Generation: g, BytesRead: reader.read, Took: m.Now().Sub(began)}, nil
}

// prepareApply removes what the configuration does not keep, and makes sure that
// the machine is ready. Where the room does not suffice, the evidence of failed
// generations has to go before the update is refused.
func (s *session) prepareApply(ctx context.Context, payload *source.Source, options ApplyOptions) error {
	if err := s.checkIdle(ctx); err != nil {
		return err
	}
	if err := s.checkKnownAhead(ctx, payload, options); err != nil {
		return err
	}
	if options.DryRun {
		return s.checkReady(ctx, payload, options)
	}
	if err := s.collect(ctx, keepFailed); err != nil {
		return err
	}
	err := s.checkReady(ctx, payload, options)
	if err == nil || classify(err) != NoRoom || !s.hasFailedTrees() {
		return err
	}
	if err := s.collect(ctx, dropFailed); err != nil {
		return err
	}
	return s.checkReady(ctx, payload, options)
}

// apply runs the operation, and undoes it when it fails.
func (s *session) apply(ctx context.Context, name string, payload *countingReader, options ApplyOptions) (generation.Generation, error) {
	id := generation.NewID()
	err := s.startOperation(generation.Operation{
		Kind:   generation.Apply,
		Before: s.journal.Roles,
		After:  s.journal.Roles.After(id),
		Generation: generation.Generation{
			ID: id, State: generation.Staged, Version: options.Version, Source: name, InstalledAt: s.Now().UTC(),
		},
	})
	if err == nil {
		err = s.build(ctx, payload, options)
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
func (s *session) build(ctx context.Context, payload *countingReader, options ApplyOptions) error {
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
			if err := deploy(ctx, work.Path, payload); err != nil {
				return err
			}
			// The reader of the format made sure that nothing follows its end.
			g.Payload = source.DigestText(payload.hash.Sum(nil))
			return s.checkKnown(options, "", g.Payload, "")
		}},
		{stepSeal, func(ctx context.Context) error { return s.seal(ctx, work, options) }},
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

// deploy writes the payload into the tree at path.
func deploy(ctx context.Context, path string, payload io.Reader) error {
	target, err := rootfs.Open(path)
	if err != nil {
		return err
	}
	defer target.Close()
	_, err = target.Deploy(ctx, tbdiff.NewReader(payload), rootfs.Options{})
	return err
}

// seal measures the new tree and makes it read-only. The digest is taken before
// the flush: what is sealed is what was measured, since nobody else knows of the
// tree.
func (s *session) seal(ctx context.Context, work sdk.Subvolume, options ApplyOptions) error {
	g := &s.journal.Operation.Generation
	digest, err := tree.Digest(ctx, work.Path)
	if err != nil {
		return err
	}
	if options.Result != "" && digest != options.Result {
		return refusal(Refused, "the new tree has the digest %s instead of %s", digest, options.Result)
	}
	g.Tree = digest
	if g.Version == "" {
		if g.Version, err = versionOf(work.Path); err != nil {
			return err
		}
	}
	if err := s.checkKnown(options, g.Tree, "", g.Version); err != nil {
		return err
	}
	return s.FS.Seal(ctx, work.Identity)
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
	hash   hash.Hash
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.reader.Read(p)
	c.read += int64(n)
	c.hash.Write(p[:n])
	c.report(c.read, c.total)
	return n, err
}
