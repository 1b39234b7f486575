package bootdir

import (
	"context"
	"fmt"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// Check implements sdk.Plugin.
func (p *Plugin) Check(ctx context.Context) ([]sdk.Finding, error) {
	const operation, object = "check", "the boot loader"
	if err := p.ready(operation, object); err != nil {
		return nil, err
	}
	var findings []sdk.Finding
	for _, part := range []func(context.Context) ([]sdk.Finding, error){p.checkFilesystem, p.checkRoomLeft, p.loader.Check, p.checkEntries} {
		found, err := part(ctx)
		if err != nil {
			return nil, p.fail(operation, object, err)
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

// Blocking makes a finding of that severity.
func Blocking(subject, remedy, problem string, args ...any) sdk.Finding {
	return sdk.Finding{Severity: sdk.SeverityBlocking, Subject: subject, Problem: fmt.Sprintf(problem, args...), Remedy: remedy}
}

// Warning makes a finding of that severity.
func Warning(subject, remedy, problem string, args ...any) sdk.Finding {
	return sdk.Finding{Severity: sdk.SeverityWarning, Subject: subject, Problem: fmt.Sprintf(problem, args...), Remedy: remedy}
}

func (p *Plugin) checkFilesystem(context.Context) ([]sdk.Finding, error) { return p.volume.Check() }

// checkRoomLeft asks for the room of one more kernel set like the biggest.
func (p *Plugin) checkRoomLeft(context.Context) ([]sdk.Finding, error) {
	ids, err := InstalledIDs(p.volume)
	if err != nil {
		return nil, err
	}
	var biggest uint64
	for _, id := range ids {
		if r, err := ReadRecord(p.volume, id); err == nil {
			biggest = max(biggest, r.Bytes)
		}
	}
	space, err := p.volume.Space()
	if err != nil {
		return nil, err
	}
	if biggest <= space.FreeBytes {
		return nil, nil
	}
	return []sdk.Finding{Blocking(p.volume.Path(), "remove generations or kernels that are not needed, or make the filesystem bigger",
		"another kernel set like the biggest one takes %d bytes, and %d are free", biggest, space.FreeBytes)}, nil
}

// checkEntries reports entries that the loader could not boot, or not with their own
// root, and what it goes without.
func (p *Plugin) checkEntries(ctx context.Context) ([]sdk.Finding, error) {
	state, err := p.State(ctx)
	if err != nil {
		return nil, err
	}
	var findings []sdk.Finding
	if state.Damage != "" {
		findings = append(findings, Warning("boot loader", "tbupdate recover", "%s", state.Damage))
	}
	for _, entry := range state.Entries {
		problem := entry.Problem
		if problem == "" && entry.CommandLine != "" && Unpinned(entry.CommandLine) {
			problem = "it does not pin its root, so after an update it boots its own kernel with whatever root is the newest: " + entry.CommandLine
		}
		if problem == "" {
			continue
		}
		severity, remedy := sdk.SeverityWarning, "tbupdate recover, or tbupdate gc"
		if entry.ID == state.Default || entry.ID == state.Trial {
			severity, remedy = sdk.SeverityBlocking, "install the generation again, or make another one the default"
		}
		findings = append(findings, sdk.Finding{Severity: severity, Subject: "boot entry " + entry.ID, Problem: problem, Remedy: remedy})
	}
	return findings, nil
}
