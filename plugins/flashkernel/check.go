package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// Check implements bootdir.Loader.
func (u *ubootLoader) Check(ctx context.Context) ([]sdk.Finding, error) {
	findings, err := u.trials.check(ctx)
	if err != nil {
		return nil, err
	}
	for _, part := range []func() ([]sdk.Finding, error){u.checkScript, u.checkForeign, u.checkPlace} {
		found, err := part()
		if err != nil {
			return nil, err
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

// checkScript reports what keeps U-Boot from choosing. Before the first Install only
// what that cannot mend matters.
func (u *ubootLoader) checkScript() ([]sdk.Finding, error) {
	ids, err := bootdir.InstalledIDs(u.volume)
	if err != nil {
		return nil, err
	}
	script, problem, err := u.readScript()
	if err != nil {
		return nil, err
	}
	var findings []sdk.Finding
	extlinux := exists(u.volume.Path(extlinuxPath))
	switch {
	case extlinux && u.settings.method == methodFlashKernel:
		findings = append(findings, bootdir.Blocking(extlinuxPath, "remove it together with what writes it (u-boot-menu), or set method = \"extlinux\"", "%s", problem))
	case extlinux && len(ids) > 0:
		findings = append(findings, bootdir.Blocking(extlinuxPath, "install a generation again, which takes it over, and remove what writes it (u-boot-menu)", "%s", problem))
	case extlinux: // it is taken over
		if _, err := u.foreignLabel(); err != nil {
			findings = append(findings, bootdir.Blocking(extlinuxPath, "write it without that, or boot by a boot.scr instead", "%v", err))
		}
	case exists(u.volume.Path("boot.scr.uimg")):
		findings = append(findings, bootdir.Blocking("boot.scr.uimg", "remove it", "%s", problem))
	case problem != "" && len(ids) > 0:
		findings = append(findings, bootdir.Blocking(bootScript, "install a generation again, which writes it anew; write the output of \"tbupdate-boot-flashkernel snippet\" to /etc/flash-kernel/ubootenv.d/"+chooser.SnippetName, "%s", problem))
	case problem == "" && !chooser.IsIn(script):
		findings = append(findings, sdk.Finding{Severity: sdk.SeverityNote, Subject: bootScript, Problem: "it has the chooser of another version of tbupdate", Remedy: "none is needed: the next update writes it anew"})
	}
	for _, feature := range u.volume.Superblock.Incompatible {
		if finding, bad := unreadable(u.volume.DevicePath(), feature); bad {
			findings = append(findings, finding)
		}
	}
	return findings, nil
}

// checkForeign looks at what boots as long as there is no default, since a trial that
// fails comes back to that.
func (u *ubootLoader) checkForeign() ([]sdk.Finding, error) {
	now, _, err := u.readDefault()
	if err != nil || now.ID != "" {
		return nil, err
	}
	script, _, err := u.readScript()
	if err != nil {
		return nil, err
	}
	name, text := bootScript, chooser.Without(script)
	for _, path := range []string{extlinuxPath, path.Join(bootdir.Directory, foreignConfig)} {
		if data, err := os.ReadFile(u.volume.Path(path)); err == nil {
			name, text = path, string(data)
			break
		}
	}
	var lines []string
	for _, found := range commandLines.FindAllStringSubmatch(text, -1) {
		lines = append(lines, strings.Trim(found[1], `"' `))
	}
	if finding, bad := bootdir.ForeignFinding(name, strings.Join(lines, " "), false); bad && text != "" {
		return []sdk.Finding{finding}, nil
	}
	return nil, nil
}

// commandLines finds command lines in U-Boot's scripts and in extlinux.conf.
var commandLines = regexp.MustCompile(`(?mi)^\s*(?:setenv\s+bootargs|append)\s+(.*)$`)

// reads are the features that U-Boot's ext4 driver knows, or that do not matter to one
// that only reads (fs/ext4/ext4_common.c).
var reads = map[string]bool{
	"filetype": true, "needs_recovery": true, "extent": true, "flex_bg": true, "64bit": true, "meta_bg": true, "mmp": true,
	"metadata_csum_seed": true,
}

func unreadable(device, feature string) (sdk.Finding, bool) {
	if reads[feature] {
		return sdk.Finding{}, false
	}
	return bootdir.Blocking(device, "make the filesystem with -O ^"+feature, "U-Boot cannot read a filesystem with %s", feature), true
}

// checkPlace compares where the trials are with where the chooser looks for them.
func (u *ubootLoader) checkPlace() ([]sdk.Finding, error) {
	now, _, err := u.readDefault()
	if err != nil || now.ID == "" || now == u.placed(now) {
		return nil, err
	}
	return []sdk.Finding{bootdir.Warning(path.Join(bootdir.Directory, chooser.DefaultA), "none is needed: the next update writes it",
		"U-Boot would look for the count of trials %s, and it is %s", placeText(now), placeText(u.place))}, nil
}

func placeText(d chooser.Default) string {
	switch {
	case d.CountedByUBoot:
		return "in its own environment"
	case d.Device != "":
		return "on " + d.Device
	}
	return fmt.Sprintf("on partition %d", d.Partition)
}
