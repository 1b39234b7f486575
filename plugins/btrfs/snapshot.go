package main

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/ioctl"
	"github.com/trebuchet-update/tbupdate/sdk"
)

func (p *plugin) Snapshot(ctx context.Context, from sdk.Identity, to string, readOnly bool) (sdk.Subvolume, error) {
	const operation = "snapshot subvolume"
	object := string(from) + " as " + to
	v, err := p.begin(ctx, operation, object)
	if err != nil {
		return sdk.Subvolume{}, err
	}
	s, err := v.snapshot(from, to, readOnly)
	return s, failure(operation, object, err)
}

func (v *volume) snapshot(from sdk.Identity, to string, readOnly bool) (sdk.Subvolume, error) {
	if err := checkName(to); err != nil {
		return sdk.Subvolume{}, err
	}
	all, err := v.readSubvolumes()
	if err != nil {
		return sdk.Subvolume{}, err
	}
	source, err := all.get(from)
	if err != nil {
		return sdk.Subvolume{}, err
	}
	if there := all.byName(to); there == nil {
		if err := v.createSnapshot(source, to, readOnly); err != nil {
			return sdk.Subvolume{}, err
		}
		if all, err = v.readSubvolumes(); err != nil {
			return sdk.Subvolume{}, err
		}
	}
	// Looked at also after creating it: so nobody else's subvolume is handed out.
	made, err := v.lookup(all, to)
	if err != nil {
		return sdk.Subvolume{}, err
	}
	if err := isSnapshotOf(made, source, readOnly); err != nil {
		return sdk.Subvolume{}, err
	}
	return v.describe(all, made), nil
}

// isSnapshotOf says why a subvolume is not what Snapshot would have made.
func isSnapshotOf(made, source *subvolume, readOnly bool) error {
	switch {
	case source.uuid == ([16]byte{}):
		return because(sdk.CodeUnsupported, "subvolume %d has no UUID (the filesystem was made before Linux 3.6), so that its snapshots cannot be told", source.id)
	case made.parentUUID != source.uuid:
		return because(sdk.CodeExists, "subvolume %d has that name, and is no snapshot of %d", made.id, source.id)
	case made.readOnly != readOnly:
		return because(sdk.CodeExists, "subvolume %d has that name, and is %s", made.id, writability(made.readOnly))
	}
	return nil
}

func writability(readOnly bool) string {
	if readOnly {
		return "read-only"
	}
	return "writable"
}

// createSnapshot makes the snapshot. The request commits it, together with what
// was written to the source before: with power lost after that, it is there with
// its whole content, before that, not at all. So nothing has to be flushed here,
// and a repeated call that finds it need not either.
func (v *volume) createSnapshot(source *subvolume, to string, readOnly bool) error {
	parent, base, err := v.openParent(to)
	if err != nil {
		return err
	}
	defer parent.Close()
	tree, err := v.open(source)
	if err != nil {
		return err
	}
	defer tree.Close()
	err = ioctl.CreateSnapshot(int(parent.Fd()), base, int(tree.Fd()), readOnly)
	if errors.Is(err, fs.ErrExist) {
		return because(sdk.CodeExists, "something that is not a subvolume has that name")
	}
	if errors.Is(err, unix.EXDEV) {
		return because(sdk.CodeUnsupported, "the directory of %s is on another filesystem", to)
	}
	return err
}
