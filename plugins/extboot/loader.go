package main

import (
	"errors"
	"os"
	"path"
	"strings"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/extlinux"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/extfs"
)

// Files of which one is enough to say that a directory is a loader's.
var (
	grubSigns     = []string{grubcfg.ConfigFile, "grubenv", "i386-pc", "x86_64-efi", "i386-efi", "arm64-efi", "arm-efi", "riscv64-efi"}
	extlinuxSigns = []string{extlinux.ConfigFile, vectorFile}
)

// findLoader gives the loader that the settings name, or the one whose files are
// there.
func findLoader(v *extfs.Volume, s settings) (bootdir.Loader, error) {
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
