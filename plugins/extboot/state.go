package main

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
func (p *plugin) State(context.Context) (sdk.BootState, error) {
	const operation, object = "read", "the boot state"
	if err := p.ready(operation, object); err != nil {
		return sdk.BootState{}, err
	}
	now, err := p.loader.read()
	if err != nil {
		return sdk.BootState{}, fail(operation, object, err)
	}
	state := sdk.BootState{Loader: p.loader.name(), Default: now.defaultID, Trial: now.trial}
	if state.Default == "" {
		state.Foreign = now.foreign
	}
	if state.Trial != "" {
		state.TriesLeft = 1
	}
	ids, err := installedIDs(p.volume)
	if err != nil {
		return sdk.BootState{}, fail(operation, object, err)
	}
	for _, id := range now.listed {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		entry, err := p.installedEntry(id, now)
		if err != nil {
			return sdk.BootState{}, fail(operation, object, err)
		}
		state.Entries = append(state.Entries, entry)
	}
	return state, nil
}

func (p *plugin) installedEntry(id string, now choice) (sdk.InstalledEntry, error) {
	r, err := readRecord(p.volume, id)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return sdk.InstalledEntry{ID: id, Problem: "its installation was not finished; install or remove it"}, nil
	case errors.Is(err, errDamaged):
		return sdk.InstalledEntry{ID: id, Problem: err.Error()}, nil
	case err != nil:
		return sdk.InstalledEntry{}, err
	}
	line, err := cmdline.Join(r.Arguments)
	if err != nil {
		return sdk.InstalledEntry{}, err
	}
	entry := sdk.InstalledEntry{ID: id, Title: r.Title, Kernel: r.kernelSet(), CommandLine: line}
	entry.Problem, err = p.entryProblem(r, now)
	return entry, err
}

func (p *plugin) entryProblem(r record, now choice) (string, error) {
	if now.problem != "" {
		return now.problem, nil
	}
	if !slices.Contains(now.listed, r.ID) {
		return fmt.Sprintf("%s does not list it; install it again", p.loader.name()), nil
	}
	for _, file := range r.all() {
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
	return p.loader.problem(r), nil
}
