package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/extfs"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// Arm implements sdk.Boot.
func (p *plugin) Arm(ctx context.Context, id string, tries int) error {
	const operation = "arm a trial of"
	if err := p.ready(operation, id); err != nil {
		return err
	}
	if tries < 1 {
		return sdk.Errorf(sdk.CodeInvalid, operation, id, "%d tries", tries)
	}
	if tries > 1 {
		return sdk.Errorf(sdk.CodeUnsupported, operation, id, "%s tries once, not %d times", p.loader.name(), tries)
	}
	if err := p.bootable(ctx, operation, id); err != nil {
		return err
	}
	if err := p.loader.arm(id); err != nil {
		return fail(operation, id, err)
	}
	return nil
}

// Disarm implements sdk.Boot.
func (p *plugin) Disarm(context.Context) error {
	const operation, object = "disarm", "the trial"
	if err := p.ready(operation, object); err != nil {
		return err
	}
	if err := p.loader.disarm(); err != nil {
		return fail(operation, object, err)
	}
	return nil
}

// SetDefault implements sdk.Boot.
func (p *plugin) SetDefault(ctx context.Context, id string) error {
	const operation = "make the default"
	if err := p.ready(operation, id); err != nil {
		return err
	}
	if err := p.bootable(ctx, operation, id); err != nil {
		return err
	}
	if err := p.loader.setDefault(id); err != nil {
		return fail(operation, id, err)
	}
	return nil
}

// bootable makes sure that the loader offers an entry and that all of its files are
// whole, before it is told to boot it.
func (p *plugin) bootable(ctx context.Context, operation, id string) error {
	r, err := p.verified(ctx, operation, id)
	if err != nil {
		return err
	}
	if err := p.writable(operation, id); err != nil {
		return err
	}
	now, err := p.loader.read()
	if err != nil {
		return fail(operation, id, err)
	}
	switch {
	case now.problem != "":
		return sdk.Errorf(sdk.CodeCorrupt, operation, id, "%s", now.problem)
	case !slices.Contains(now.listed, id):
		return sdk.Errorf(sdk.CodeCorrupt, operation, id, "%s does not list it; install it again", p.loader.name())
	}
	if problem := p.loader.problem(r); problem != "" {
		return sdk.Errorf(sdk.CodeCorrupt, operation, id, "%s", problem)
	}
	return nil
}

// Verify implements sdk.Boot.
func (p *plugin) Verify(ctx context.Context, id string) error {
	const operation = "verify"
	if err := p.ready(operation, id); err != nil {
		return err
	}
	_, err := p.verified(ctx, operation, id)
	return err
}

func (p *plugin) verified(ctx context.Context, operation, id string) (record, error) {
	if err := checkID(operation, id); err != nil {
		return record{}, err
	}
	r, err := readRecord(p.volume, id)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return record{}, sdk.Errorf(sdk.CodeNotFound, operation, id, "it is not installed in %s", p.volume.Directory)
	case errors.Is(err, errDamaged):
		return record{}, sdk.Errorf(sdk.CodeCorrupt, operation, id, "%s: %w", entryPath(id, recordFile), err)
	case err != nil:
		return record{}, fail(operation, id, err)
	}
	if err := p.verifyFiles(ctx, r); err != nil {
		return record{}, fail(operation, id, err)
	}
	return r, nil
}

// verifyFiles compares every file with the record.
func (p *plugin) verifyFiles(ctx context.Context, r record) error {
	for _, file := range r.all() {
		sum, err := extfs.Digest(ctx, p.volume.Path(file.Target))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return sdk.Errorf(sdk.CodeCorrupt, "verify", r.ID, "%s is gone", file.Target)
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("cannot read %s: %w", file.Target, err)
		case sum != file.SHA256:
			return sdk.Errorf(sdk.CodeCorrupt, "verify", r.ID, "%s is not what was installed", file.Target)
		}
	}
	return nil
}
