package bootdir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
)

// State implements sdk.Boot.
func (p *Plugin) State(ctx context.Context) (sdk.BootState, error) {
	const operation, object = "read", "the boot state"
	if err := p.ready(operation, object); err != nil {
		return sdk.BootState{}, err
	}
	now, err := p.loader.Read(ctx)
	if err != nil {
		return sdk.BootState{}, p.fail(operation, object, err)
	}
	state := sdk.BootState{Loader: p.loader.Name(), Default: now.Default, Trial: now.Trial, TriesLeft: now.TriesLeft, Damage: now.Damage}
	if state.Default == "" {
		state.Foreign = now.Foreign
	}
	ids, err := InstalledIDs(p.volume)
	if err != nil {
		return sdk.BootState{}, p.fail(operation, object, err)
	}
	for _, id := range now.Listed {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		entry, err := p.installedEntry(ctx, id, now)
		if err != nil {
			return sdk.BootState{}, p.fail(operation, object, err)
		}
		state.Entries = append(state.Entries, entry)
	}
	return state, nil
}

func (p *Plugin) installedEntry(ctx context.Context, id string, now Choice) (sdk.InstalledEntry, error) {
	r, err := ReadRecord(p.volume, id)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return sdk.InstalledEntry{ID: id, Problem: "its installation was not finished; install or remove it"}, nil
	case errors.Is(err, ErrDamaged):
		return sdk.InstalledEntry{ID: id, Problem: err.Error()}, nil
	case err != nil:
		return sdk.InstalledEntry{}, err
	}
	line, err := cmdline.Join(r.Arguments)
	if err != nil {
		return sdk.InstalledEntry{}, err
	}
	entry := sdk.InstalledEntry{ID: id, Title: r.Title, Kernel: r.kernelSet(), CommandLine: line}
	entry.Problem, err = p.entryProblem(ctx, r, now)
	return entry, err
}

func (p *Plugin) entryProblem(ctx context.Context, r Record, now Choice) (string, error) {
	if now.Problem != "" {
		return now.Problem, nil
	}
	if !slices.Contains(now.Listed, r.ID) {
		return fmt.Sprintf("%s does not list it; install it again", p.loader.Name()), nil
	}
	for _, file := range r.All() {
		info, err := os.Lstat(p.volume.Path(file.Target))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return file.Target + " is gone", nil
		case err != nil:
			return "", err
		case !info.Mode().IsRegular() || uint64(info.Size()) != file.Size:
			return fmt.Sprintf("%s has %d bytes instead of %d", file.Target, info.Size(), file.Size), nil
		}
	}
	return p.loader.Problem(ctx, r), nil
}
