package main

import (
	"context"

	"github.com/dennwc/btrfs"

	"github.com/trebuchet-update/tbupdate/sdk"
)

func (p *plugin) Seal(ctx context.Context, id sdk.Identity) error {
	const operation = "seal subvolume"
	v, err := p.begin(ctx, operation, string(id))
	if err != nil {
		return err
	}
	return failure(operation, string(id), v.seal(id))
}

func (v *volume) seal(id sdk.Identity) error {
	_, s, err := v.find(id)
	if err != nil {
		return err
	}
	if !s.readOnly {
		// First the data, then the flag. The flag may reach the disk by itself, with
		// the transaction of somebody else; with data behind it, power lost then
		// would leave a tree that says it is sealed and has holes.
		if err := v.commit(); err != nil {
			return err
		}
		if err := v.setReadOnly(s); err != nil {
			return err
		}
	}
	// Closes the window in which the caller records the tree as sealed, and power
	// lost then brings it back writable.
	return v.commit()
}

func (v *volume) setReadOnly(s *subvolume) error {
	tree, err := v.open(s)
	if err != nil {
		return err
	}
	defer tree.Close()
	control, err := btrfs.Open(tree.Name(), false)
	if err != nil {
		return err
	}
	defer control.Close()
	flags, err := control.GetFlags()
	if err != nil {
		return err
	}
	return control.SetFlags(flags | btrfs.SubvolReadOnly)
}
