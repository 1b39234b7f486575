package main

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/extfs"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// Remove implements sdk.Boot.
func (p *plugin) Remove(_ context.Context, id string) error {
	const operation = "remove"
	if err := p.ready(operation, id); err != nil {
		return err
	}
	if err := checkID(operation, id); err != nil {
		return err
	}
	now, err := p.loader.read()
	if err != nil {
		return fail(operation, id, err)
	}
	if slices.Contains(now.held, id) {
		return sdk.Errorf(sdk.CodeBusy, operation, id, "it is the %s", roleOf(id, now))
	}
	if err := p.takeAway(id); err != nil {
		return fail(operation, id, err)
	}
	return nil
}

// takeAway removes whatever there is of an entry that is neither default nor
// trial: first the loader forgets it, then its record, which alone makes it whole,
// then the rest. Where there is nothing it writes nothing.
func (p *plugin) takeAway(id string) error {
	if err := p.loader.withdraw(id); err != nil {
		return err
	}
	dir := p.volume.Path(entryPath(id))
	if err := os.Remove(p.volume.Path(entryPath(id, recordFile))); err == nil {
		if err := extfs.SyncDirectory(dir); err != nil {
			return err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return extfs.SyncDirectory(p.volume.Path(grubcfg.Directory))
}
