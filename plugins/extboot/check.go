package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/extlinux"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// Check implements sdk.Plugin.
func (p *plugin) Check(ctx context.Context) ([]sdk.Finding, error) {
	const operation, object = "check", "the boot loader"
	if err := p.ready(operation, object); err != nil {
		return nil, err
	}
	var findings []sdk.Finding
	for _, part := range []func() ([]sdk.Finding, error){p.checkFilesystem, p.checkRoomLeft, p.loader.check, func() ([]sdk.Finding, error) { return p.checkEntries(ctx) }} {
		found, err := part()
		if err != nil {
			return nil, fail(operation, object, err)
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

func blocking(subject, remedy, problem string, args ...any) sdk.Finding {
	return sdk.Finding{Severity: sdk.SeverityBlocking, Subject: subject, Problem: fmt.Sprintf(problem, args...), Remedy: remedy}
}

func warning(subject, remedy, problem string, args ...any) sdk.Finding {
	return sdk.Finding{Severity: sdk.SeverityWarning, Subject: subject, Problem: fmt.Sprintf(problem, args...), Remedy: remedy}
}

func (p *plugin) checkFilesystem() ([]sdk.Finding, error) {
	var findings []sdk.Finding
	subject, device := p.volume.Directory, p.volume.DevicePath()
	readOnly, err := p.volume.ReadOnly()
	if err != nil {
		return nil, err
	}
	if readOnly {
		findings = append(findings, blocking(subject, "mount -o remount,rw "+subject, "it is mounted read-only"))
	}
	journalsData, err := p.volume.JournalsData()
	if err != nil {
		return nil, err
	}
	if journalsData {
		findings = append(findings, blocking(subject, "mount it with data=ordered, and run tune2fs -o ^journal_data "+device,
			"it journals file data, so that replaying the journal would undo what the boot loader noted"))
	}
	if p.volume.Superblock.Errors {
		findings = append(findings, warning(subject, "unmount it and run e2fsck -f "+device, "the kernel has found errors in this filesystem"))
	}
	return findings, nil
}

// checkRoomLeft asks for the room of one more kernel set like the biggest.
func (p *plugin) checkRoomLeft() ([]sdk.Finding, error) {
	ids, err := installedIDs(p.volume)
	if err != nil {
		return nil, err
	}
	var biggest uint64
	for _, id := range ids {
		if r, err := readRecord(p.volume, id); err == nil {
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
	return []sdk.Finding{blocking(p.volume.Directory, "remove generations or kernels that are not needed, or make the filesystem bigger",
		"another kernel set like the biggest one takes %d bytes, and %d are free", biggest, space.FreeBytes)}, nil
}

// checkEntries reports entries that the loader could not boot.
func (p *plugin) checkEntries(ctx context.Context) ([]sdk.Finding, error) {
	state, err := p.State(ctx)
	if err != nil {
		return nil, err
	}
	var findings []sdk.Finding
	for _, entry := range state.Entries {
		if entry.Problem == "" {
			continue
		}
		severity, remedy := sdk.SeverityWarning, "tbupdate recover, or tbupdate gc"
		if entry.ID == state.Default || entry.ID == state.Trial {
			severity, remedy = sdk.SeverityBlocking, "install the generation again, or make another one the default"
		}
		findings = append(findings, sdk.Finding{Severity: severity, Subject: "boot entry " + entry.ID, Problem: entry.Problem, Remedy: remedy})
	}
	return findings, nil
}

// What GRUB's ext2 driver refuses (grub-core/fs/ext2.c), up to 2.06 and at all.
var (
	grubReads      = []string{"filetype", "needs_recovery", "extent", "flex_bg", "meta_bg", "64bit", "encrypt", "mmp"}
	newerGRUBReads = []string{"metadata_csum_seed", "large_dir"}
)

func (g *grubLoader) check() ([]sdk.Finding, error) {
	var findings []sdk.Finding
	super, device := g.volume.Superblock, g.volume.DevicePath()
	for _, feature := range super.Incompatible {
		switch {
		case slices.Contains(grubReads, feature):
		case slices.Contains(newerGRUBReads, feature):
			findings = append(findings, warning(device, "make sure that GRUB is 2.12 or newer, or make the filesystem with -O ^"+feature, "GRUB 2.06 and older cannot read a filesystem with %s", feature))
		default:
			findings = append(findings, blocking(device, "make the filesystem with -O ^"+feature, "GRUB cannot read a filesystem with %s", feature))
		}
	}
	if name := filepath.Base(device); strings.HasPrefix(name, "dm-") || strings.HasPrefix(name, "md") {
		findings = append(findings, blocking(device, "put /boot on a plain partition", "GRUB cannot write to LVM or RAID, so it can try nothing once"))
	}
	now, err := g.read()
	if err != nil {
		return nil, err
	}
	ids, err := installedIDs(g.volume)
	if err != nil {
		return nil, err
	}
	config, err := readText(g.grubs(grubcfg.ConfigFile))
	if err != nil {
		return nil, err
	}
	foreign := grubcfg.ParseForeign(config)
	switch {
	// Before the first Install only what it cannot mend matters.
	case config != "" && !foreign.SourcesCustom:
		findings = append(findings, blocking(g.directory+"/"+grubcfg.ConfigFile,
			"end it with: source $prefix/custom.cfg (grub-mkconfig does so by /etc/grub.d/41_custom)", "it does not source %s as its last word on the default", grubcfg.CustomFile))
	case len(ids) > 0 && now.problem != "":
		findings = append(findings, blocking("GRUB's configuration", "install a generation again, which writes it anew", "%s", now.problem))
	}
	for _, entry := range foreign.Entries {
		if finding, bad := foreignFinding(entry.Title, entry.CommandLine, now.defaultID != ""); bad {
			findings = append(findings, finding)
		}
	}
	return findings, nil
}

// extlinuxReads is what syslinux' ext2 driver can do without harm.
var extlinuxReads = []string{"filetype", "needs_recovery", "extent", "flex_bg", "metadata_csum_seed", "mmp", "large_dir"}

func (x *extlinuxLoader) check() ([]sdk.Finding, error) {
	var findings []sdk.Finding
	config, _, err := x.readConfig()
	if errors.Is(err, extlinux.ErrForeign) {
		return append(findings, blocking(x.directory+"/"+extlinux.ConfigFile, "take that line out", "%v", err)), nil
	}
	if err != nil {
		return nil, err
	}
	now, err := x.read()
	if err != nil {
		return nil, err
	}
	if now.problem != "" {
		findings = append(findings, blocking(x.directory+"/"+extlinux.ConfigFile, "install a generation again, which writes it anew", "%s", now.problem))
	}
	if !exists(x.vectorPath()) {
		findings = append(findings, blocking(x.directory+"/"+vectorFile, "run extlinux --install, or use the plugin for what starts this machine",
			"it is not there, so something else than extlinux reads the configuration, and cannot try an entry once"))
	} else {
		for _, feature := range x.volume.Superblock.Incompatible {
			if !slices.Contains(extlinuxReads, feature) {
				findings = append(findings, blocking(x.volume.DevicePath(), "make the filesystem with -O ^"+feature, "extlinux cannot read a filesystem with %s", feature))
			}
		}
	}
	for _, label := range config.ForeignLabels() {
		if finding, bad := foreignFinding(label.Name, label.CommandLine, now.defaultID != ""); bad {
			findings = append(findings, finding)
		}
	}
	return findings, nil
}
