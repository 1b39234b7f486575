package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/bls"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/extlinux"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// What GRUB's ext2 driver refuses (grub-core/fs/ext2.c), up to 2.06 and at all.
var (
	grubReads      = []string{"filetype", "needs_recovery", "extent", "flex_bg", "meta_bg", "64bit", "encrypt", "mmp"}
	newerGRUBReads = []string{"metadata_csum_seed", "large_dir"}
)

func (g *grubLoader) Check(ctx context.Context) ([]sdk.Finding, error) {
	var findings []sdk.Finding
	super, device := g.volume.Superblock, g.volume.DevicePath()
	for _, feature := range super.Incompatible {
		switch {
		case slices.Contains(grubReads, feature):
		case slices.Contains(newerGRUBReads, feature):
			findings = append(findings, bootdir.Warning(device, "make sure that GRUB is 2.12 or newer, or make the filesystem with -O ^"+feature, "GRUB 2.06 and older cannot read a filesystem with %s", feature))
		default:
			findings = append(findings, bootdir.Blocking(device, "make the filesystem with -O ^"+feature, "GRUB cannot read a filesystem with %s", feature))
		}
	}
	if name := filepath.Base(device); strings.HasPrefix(name, "dm-") || strings.HasPrefix(name, "md") {
		findings = append(findings, bootdir.Blocking(device, "put /boot on a plain partition", "GRUB cannot write to LVM or RAID, so it can try nothing once"))
	}
	now, err := g.Read(ctx)
	if err != nil {
		return nil, err
	}
	ids, err := bootdir.InstalledIDs(g.volume)
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
		findings = append(findings, bootdir.Blocking(g.directory+"/"+grubcfg.ConfigFile,
			"end it with: source $prefix/custom.cfg (grub-mkconfig does so by /etc/grub.d/41_custom)", "it does not source %s as its last word on the default", grubcfg.CustomFile))
	case len(ids) > 0 && now.Problem != "":
		findings = append(findings, bootdir.Blocking("GRUB's configuration", "install a generation again, which writes it anew", "%s", now.Problem))
	}
	for _, entry := range foreign.Entries {
		if finding, bad := bootdir.ForeignFinding(entry.Title, entry.CommandLine, now.Default != ""); bad {
			findings = append(findings, finding)
		}
	}
	return findings, nil
}

// extlinuxReads is what syslinux' ext2 driver can do without harm.
var extlinuxReads = []string{"filetype", "needs_recovery", "extent", "flex_bg", "metadata_csum_seed", "mmp", "large_dir"}

func (x *extlinuxLoader) Check(ctx context.Context) ([]sdk.Finding, error) {
	var findings []sdk.Finding
	config, _, err := x.readConfig()
	if errors.Is(err, extlinux.ErrForeign) {
		return append(findings, bootdir.Blocking(x.directory+"/"+extlinux.ConfigFile, "take that line out", "%v", err)), nil
	}
	if err != nil {
		return nil, err
	}
	now, err := x.Read(ctx)
	if err != nil {
		return nil, err
	}
	if now.Problem != "" {
		findings = append(findings, bootdir.Blocking(x.directory+"/"+extlinux.ConfigFile, "install a generation again, which writes it anew", "%s", now.Problem))
	}
	if !exists(x.vectorPath()) {
		findings = append(findings, bootdir.Blocking(x.directory+"/"+vectorFile, "run extlinux --install, or use the plugin for what starts this machine",
			"it is not there, so something else than extlinux reads the configuration, and cannot try an entry once"))
	} else {
		for _, feature := range x.volume.Superblock.Incompatible {
			if !slices.Contains(extlinuxReads, feature) {
				findings = append(findings, bootdir.Blocking(x.volume.DevicePath(), "make the filesystem with -O ^"+feature, "extlinux cannot read a filesystem with %s", feature))
			}
		}
	}
	for _, label := range config.ForeignLabels() {
		if finding, bad := bootdir.ForeignFinding(label.Name, label.CommandLine, now.Default != ""); bad {
			findings = append(findings, finding)
		}
	}
	return findings, nil
}

func (s *sdbootLoader) Check(context.Context) ([]sdk.Finding, error) {
	m, err := s.readMenu()
	if err != nil {
		return nil, err
	}
	findings := m.check()
	if m.oneShot != "" {
		findings = append(findings, bootdir.Warning("EFI variable LoaderEntryOneShot", "bootctl set-oneshot ''", "the next start boots %s, whatever tbupdate arms", m.oneShot))
	}
	for _, file := range m.files {
		if name, _ := bls.ParseName(file); name.Trial && name.Left == bls.Uncounted {
			findings = append(findings, bootdir.Warning(sdbootEntries+"/"+file, "confirm or roll back with tbupdate, and keep systemd-bless-boot.service from starting in a trial",
				"it was a trial, and something else than tbupdate, such as systemd-bless-boot, took its counter away, so it is the default"))
		}
	}
	return findings, nil
}

// check says what is to be said of the default and of entries of others.
func (m menu) check() []sdk.Finding {
	var findings []sdk.Finding
	now := m.read()
	if now.Problem != "" {
		findings = append(findings, bootdir.Blocking("systemd-boot's default", "take that back; for loader.conf, install a generation again", "%s", now.Problem))
	}
	for _, entry := range m.entries {
		if _, ours := bls.ParseName(entry.File); ours {
			continue
		}
		if finding, bad := bootdir.ForeignFinding(strings.TrimSuffix(entry.File, ".conf"), entry.CommandLine, now.Default != ""); bad {
			findings = append(findings, finding)
		}
	}
	return findings
}

func (x *xbootldrLoader) Check(context.Context) ([]sdk.Finding, error) {
	m, err := x.readMenu()
	if err != nil {
		return nil, err
	}
	findings := m.check()
	ofESP, err := x.esp.Check()
	if err != nil {
		return nil, err
	}
	findings = append(findings, ofESP...)
	switch {
	case x.unread.problem != "":
		findings = append(findings, bootdir.Blocking(x.volume.Path(), x.unread.remedy, "%s", x.unread.problem))
	case len(x.variables.list(variableEntries)) > 0 && len(m.entries) > 0 && !listedAny(x.variables, x.volume):
		findings = append(findings, bootdir.Warning(x.volume.Path(),
			"if this system was started after the first entry was written, make the filesystem with what the driver knows (for that of rEFInd, -O ^metadata_csum_seed,^inline_data)",
			"systemd-boot listed nothing of it when it started this system"))
	}
	if problem := x.variables.unwritable(); problem != "" {
		findings = append(findings, bootdir.Blocking("EFI variables", "work on the machine itself, with efivarfs mounted to be written to",
			"systemd-boot is told of a trial by an EFI variable, and %s", problem))
	}
	if m.oneShot != "" && m.asked() == "" {
		findings = append(findings, bootdir.Warning("EFI variable LoaderEntryOneShot", "bootctl set-oneshot ''", "the next start boots %s once, unless a trial is armed meanwhile", m.oneShot))
	}
	return findings, nil
}
