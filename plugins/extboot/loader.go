package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/extfs"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/extlinux"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
)

// Files of which one is enough to say that a directory is a loader's.
var (
	grubSigns     = []string{grubcfg.ConfigFile, "grubenv", "i386-pc", "x86_64-efi", "i386-efi", "arm64-efi", "arm-efi", "riscv64-efi"}
	extlinuxSigns = []string{extlinux.ConfigFile, vectorFile}
)

// findLoader gives the loader that the settings name, or the one whose files are
// there.
func findLoader(v *extfs.Volume, s settings) (loader, error) {
	const operation = "find the boot loader on"
	grubDirectory := firstWith(v, s.grubDirectories, grubSigns)
	extlinuxDirectory := firstWith(v, s.extlinuxDirectories, extlinuxSigns)
	wanted := s.loader
	switch {
	case wanted != "":
	case grubDirectory != "" && extlinuxDirectory != "":
		return nil, sdk.Errorf(sdk.CodeInvalid, operation, v.Directory, "both GRUB (%s) and extlinux (%s) are there; set loader to the one that starts this machine", grubDirectory, extlinuxDirectory)
	case grubDirectory != "":
		wanted = loaderGRUB
	case extlinuxDirectory != "":
		wanted = loaderExtlinux
	default:
		return nil, sdk.Errorf(sdk.CodeUnsupported, operation, v.Directory, "neither GRUB (%s) nor extlinux (%s) is there",
			strings.Join(s.grubDirectories, ", "), strings.Join(s.extlinuxDirectories, ", "))
	}
	if wanted == loaderGRUB {
		if grubDirectory == "" {
			return nil, sdk.Errorf(sdk.CodeNotFound, operation, v.Directory, "there is no GRUB in %s", strings.Join(s.grubDirectories, ", "))
		}
		return &grubLoader{volume: v, directory: grubDirectory}, nil
	}
	if extlinuxDirectory == "" {
		return nil, sdk.Errorf(sdk.CodeNotFound, operation, v.Directory, "there is no extlinux in %s", strings.Join(s.extlinuxDirectories, ", "))
	}
	return &extlinuxLoader{volume: v, directory: extlinuxDirectory}, nil
}

func firstWith(v *extfs.Volume, directories, signs []string) string {
	for _, dir := range directories {
		for _, sign := range signs {
			if exists(v.Path(dir, sign)) {
				return path.Clean(dir)
			}
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// notEmpty is GRUB's "-s".
func notEmpty(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0
}

// readText reads a file, "" when it is not there.
func readText(path string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(data), err
}

// unpinned reports whether a command line leaves it to names which root it mounts:
// after a rotation it boots whatever then has the name.
func unpinned(commandLine string) bool {
	root := cmdline.Value(commandLine, "root")
	if strings.HasPrefix(root, "ZFS=") || strings.HasPrefix(root, "zfs:") && root != "zfs:AUTO" {
		return false // a dataset is named, but keeps its name
	}
	flags := strings.Split(cmdline.Value(commandLine, "rootflags"), ",")
	return !slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, "subvolid=") })
}

// foreignFinding is the result of a check of an entry of others. As long as the
// default is not ours, a trial that fails comes back to such an entry.
func foreignFinding(name, commandLine string, defaultIsOurs bool) (sdk.Finding, bool) {
	if !unpinned(commandLine) {
		return sdk.Finding{}, false
	}
	finding := sdk.Finding{
		Severity: sdk.SeverityWarning,
		Subject:  fmt.Sprintf("boot entry %q", name),
		Problem:  "it does not pin its root, so after an update it boots its own kernel with whatever root is the newest: " + commandLine,
		Remedy:   "do not choose it by hand; once no generation needs its kernel, remove that",
	}
	if !defaultIsOurs {
		finding.Severity = sdk.SeverityBlocking
		finding.Remedy = "make an installed generation the default (tbupdate init does), or pin its root by identity"
	}
	return finding, true
}
