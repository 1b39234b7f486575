package bootdir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
)

// Arm implements sdk.Boot.
func (p *Plugin) Arm(ctx context.Context, id string, tries int) error {
	const operation = "arm a trial of"
	if err := p.ready(operation, id); err != nil {
		return err
	}
	if tries < 1 {
		return sdk.Errorf(sdk.CodeInvalid, operation, id, "%d tries", tries)
	}
	switch most := p.loader.MaxTries(); {
	case most == 0:
		return sdk.Errorf(sdk.CodeUnsupported, operation, id, "%s, as it is set up here, cannot try an entry; Check says why", p.loader.Name())
	case tries > most:
		return sdk.Errorf(sdk.CodeUnsupported, operation, id, "%s can count %d of the %d tries", p.loader.Name(), most, tries)
	}
	if err := p.bootable(ctx, operation, id); err != nil {
		return err
	}
	if err := p.loader.Arm(ctx, id, tries); err != nil {
		return p.fail(operation, id, err)
	}
	return nil
}

// Disarm implements sdk.Boot.
func (p *Plugin) Disarm(ctx context.Context) error {
	const operation, object = "disarm", "the trial"
	if err := p.ready(operation, object); err != nil {
		return err
	}
	if err := p.loader.Disarm(ctx); err != nil {
		return p.fail(operation, object, err)
	}
	return nil
}

// SetDefault implements sdk.Boot.
func (p *Plugin) SetDefault(ctx context.Context, id string) error {
	const operation = "make the default"
	if err := p.ready(operation, id); err != nil {
		return err
	}
	if err := p.bootable(ctx, operation, id); err != nil {
		return err
	}
	if err := p.loader.SetDefault(ctx, id); err != nil {
		return p.fail(operation, id, err)
	}
	return nil
}

// bootable makes sure that the loader offers an entry and that all of its files are
// whole, before it is told to boot it.
func (p *Plugin) bootable(ctx context.Context, operation, id string) error {
	r, err := p.verified(ctx, operation, id)
	if err != nil {
		return err
	}
	if err := p.writable(operation, id); err != nil {
		return err
	}
	problem, err := p.unlisted(ctx, r)
	if err == nil && problem != "" {
		// Others changed what makes the loader list it, or an older version of this
		// program wrote it. Its own files are whole, so that can be mended.
		if err = p.loader.Publish(ctx, r); err == nil {
			problem, err = p.unlisted(ctx, r)
		}
	}
	if err != nil {
		return p.fail(operation, id, err)
	}
	if problem != "" {
		return sdk.Errorf(sdk.CodeCorrupt, operation, id, "%s", problem)
	}
	return nil
}

// unlisted says why the loader does not come to an entry whose files are whole, ""
// when it does.
func (p *Plugin) unlisted(ctx context.Context, r Record) (string, error) {
	now, err := p.loader.Read(ctx)
	switch {
	case err != nil:
		return "", err
	case now.Problem != "":
		return now.Problem, nil
	case !slices.Contains(now.Listed, r.ID):
		return fmt.Sprintf("%s does not list it; install it again", p.loader.Name()), nil
	}
	return p.loader.Problem(ctx, r), nil
}

// Verify implements sdk.Boot.
func (p *Plugin) Verify(ctx context.Context, id string) error {
	const operation = "verify"
	if err := p.ready(operation, id); err != nil {
		return err
	}
	_, err := p.verified(ctx, operation, id)
	return err
}

func (p *Plugin) verified(ctx context.Context, operation, id string) (Record, error) {
	if err := checkID(operation, id); err != nil {
		return Record{}, err
	}
	r, err := ReadRecord(p.volume, id)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return Record{}, sdk.Errorf(sdk.CodeNotFound, operation, id, "it is not installed in %s", p.volume.Path())
	case errors.Is(err, ErrDamaged):
		return Record{}, sdk.Errorf(sdk.CodeCorrupt, operation, id, "%s: %w", EntryPath(id, RecordFile), err)
	case err != nil:
		return Record{}, p.fail(operation, id, err)
	}
	if err := p.verifyFiles(ctx, r); err != nil {
		return Record{}, p.fail(operation, id, err)
	}
	return r, nil
}

// verifyFiles compares every file with the record.
func (p *Plugin) verifyFiles(ctx context.Context, r Record) error {
	for _, file := range r.All() {
		sum, err := durable.Digest(ctx, p.volume.Path(file.Target))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return sdk.Errorf(sdk.CodeCorrupt, "verify", r.ID, "%s is gone", file.Target)
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, syscall.EIO):
			return sdk.Errorf(sdk.CodeCorrupt, "verify", r.ID, "%s: %w", file.Target, err)
		case err != nil:
			return fmt.Errorf("cannot read %s: %w", file.Target, err)
		case sum != file.SHA256:
			return sdk.Errorf(sdk.CodeCorrupt, "verify", r.ID, "%s is not what was installed", file.Target)
		}
	}
	return nil
}
