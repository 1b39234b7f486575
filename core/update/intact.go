package update

import (
	"context"
	"errors"

	"github.com/trebuchet-update/tbupdate/core/bundle"
	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// VerifyKernel reads a generation's kernel set from the boot filesystem and makes sure that it is what was
// installed. It changes nothing and holds no lock.
func (m *Machine) VerifyKernel(ctx context.Context, g generation.Generation) error {
	return m.Boot.Verify(ctx, string(g.ID))
}

// VerifyTree reads a generation's pristine tree and makes sure that it is what was sealed: a disk that lies, or
// whose content decays, is found out this way. The root that runs shares its content with that tree.
// It changes nothing and holds no lock.
func (m *Machine) VerifyTree(ctx context.Context, g generation.Generation) error {
	pristine, err := m.FS.Get(ctx, g.Pristine)
	if err != nil {
		return err
	}
	_, _, err = readSealed(ctx, pristine, g)
	return err
}

// readSealed reads a tree that has to be a generation's, and gives both of its digests.
func readSealed(ctx context.Context, from sdk.Subvolume, g generation.Generation) (classic, exact string, err error) {
	digests, err := tree.ReadDigests(ctx, from.Path)
	if err != nil {
		return "", "", err
	}
	classic, exact = digests.Classic, bundle.Digest(digests.Exact).String()
	if g.Tree != "" && classic != g.Tree || g.Exact != "" && exact != g.Exact {
		return "", "", refusal(Unclear, "%s has the digest %s, and was sealed with %s: %w", describe(from), exact, g.Exact, errChanged)
	}
	return classic, exact, nil
}

// unlikeInstalled reports whether an error of VerifyKernel says that the files are not what was installed.
func unlikeInstalled(err error) bool {
	return errors.Is(err, sdk.ErrNotFound) || errors.Is(err, sdk.ErrCorrupt)
}
