package update

import (
	"context"
	"errors"
	"fmt"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// arrange makes the names of the layout stand for the generations in want, within
// the operation in flight, which records the new roles when it is over. It looks at
// what is there and changes only what differs, so that it serves to rotate, to
// rotate back, and to go on after a crash.
//
// None of its steps changes what boots next: boot entries pin identities, and no
// identity changes. So no order among them can leave a machine that does not boot;
// the order is such that at every instant root has a name, and that previous, which
// is what an operator falls back on, is right before current is replaced.
func (s *session) arrange(ctx context.Context, want generation.Roles) error {
	return s.take(ctx, []planned{
		{stepPrevious, func(ctx context.Context) error {
			return s.arrangeCopy(ctx, generation.PreviousName, want.Previous)
		}},
		{stepCurrent, func(ctx context.Context) error { return s.arrangeCopy(ctx, generation.CurrentName, want.Current) }},
		{stepRoot, func(ctx context.Context) error { return s.arrangeRoot(ctx, want.Root) }},
		{stepPark, s.park},
		{stepSetDefault, func(ctx context.Context) error {
			root, err := s.rootOf(want.Root)
			if err != nil || root == "" {
				return err
			}
			return s.FS.SetDefault(ctx, root)
		}},
	})
}

// member gives the generation with this id, also while it is still being built.
func (s *session) member(id generation.ID) (*generation.Generation, error) {
	if op := s.journal.Operation; op != nil && op.Generation.ID == id {
		return &op.Generation, nil
	}
	if g := s.journal.Find(id); g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("cannot find generation %s in the journal", id)
}

// rootOf gives the identity of a generation's writable copy, "" for nobody's.
func (s *session) rootOf(id generation.ID) (sdk.Identity, error) {
	if id == "" {
		return "", nil
	}
	g, err := s.member(id)
	if err != nil {
		return "", err
	}
	return g.Root, nil
}

// arrangeCopy makes name a read-only copy of the generation's pristine tree, and
// nobody's name where id is "". What has the name can go first: it is a copy too,
// and can be made again. Not so where the pristine tree is gone (somebody deleted
// it): then what is there stays, and Check says what is missing.
func (s *session) arrangeCopy(ctx context.Context, name string, id generation.ID) error {
	if id == "" {
		return s.deleteName(ctx, name)
	}
	if is, err := s.isCopy(ctx, name, id); is || err != nil {
		return err
	}
	g, err := s.member(id)
	if err != nil {
		return err
	}
	if err := s.deleteName(ctx, name); err != nil {
		return err
	}
	_, err = s.FS.Snapshot(ctx, g.Pristine, name, true)
	return err
}

// arrangeRoot gives the name root to the generation's writable copy. The one that
// had it keeps existing, and running, under the name that this one had.
func (s *session) arrangeRoot(ctx context.Context, id generation.ID) error {
	root, err := s.rootOf(id)
	if err != nil || root == "" {
		return err
	}
	have, err := s.FS.Lookup(ctx, generation.RootName)
	switch {
	case errors.Is(err, sdk.ErrNotFound):
		return s.FS.Rename(ctx, root, generation.RootName)
	case err != nil:
		return err
	case have.Identity == root:
		return nil
	}
	return s.FS.Exchange(ctx, generation.RootName, root)
}

// park names every writable copy that is not root after its generation. After an
// exchange the old root has the new one's parking name.
func (s *session) park(ctx context.Context) error {
	root, err := s.FS.Lookup(ctx, generation.RootName)
	if err != nil && !errors.Is(err, sdk.ErrNotFound) {
		return err
	}
	generations := s.journal.Generations
	if op := s.journal.Operation; op != nil && s.journal.Find(op.Generation.ID) == nil {
		generations = append(generations[:len(generations):len(generations)], op.Generation)
	}
	for _, g := range generations {
		if g.Root == "" || g.Root == root.Identity {
			continue
		}
		// One that is gone (deleted by an undoing that was cut short, or by hand)
		// must not keep the others from their names.
		if err := s.FS.Rename(ctx, g.Root, g.ID.WritableName()); err != nil && !errors.Is(err, sdk.ErrNotFound) {
			return err
		}
	}
	return nil
}
