package bootdir

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
)

// Remove implements sdk.Boot.
func (p *Plugin) Remove(ctx context.Context, id string) error {
	const operation = "remove"
	if err := p.ready(operation, id); err != nil {
		return err
	}
	if err := checkID(operation, id); err != nil {
		return err
	}
	now, err := p.loader.Read(ctx)
	if err != nil {
		return p.fail(operation, id, err)
	}
	if slices.Contains(now.Held, id) {
		return sdk.Errorf(sdk.CodeBusy, operation, id, "it is the %s", roleOf(id, now))
	}
	if err := p.takeAway(ctx, id); err != nil {
		return p.fail(operation, id, err)
	}
	return nil
}

// takeAway removes whatever there is of an entry that is neither default nor
// trial: first the loader forgets it, then its record, which alone makes it whole,
// then the rest. Where there is nothing it writes nothing.
func (p *Plugin) takeAway(ctx context.Context, id string) error {
	if err := p.loader.Withdraw(ctx, id); err != nil {
		return err
	}
	dir := p.volume.Path(EntryPath(id))
	if err := os.Remove(p.volume.Path(EntryPath(id, RecordFile))); err == nil {
		if err := durable.SyncDirectory(dir); err != nil {
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
	return durable.SyncDirectory(p.volume.Path(Directory))
}
