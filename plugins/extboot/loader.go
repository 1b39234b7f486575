package main

import (
	"context"
	"errors"
	"os"
	"path"
	"strings"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/extlinux"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/extfs"
	"github.com/trebuchet-update/tbupdate/sdk/fatfs"
)

// Files of which one is enough to say that a directory is a loader's.
var (
	grubSigns     = []string{grubcfg.ConfigFile, "grubenv", "i386-pc", "x86_64-efi", "i386-efi", "arm64-efi", "arm-efi", "riscv64-efi"}
	extlinuxSigns = []string{extlinux.ConfigFile, vectorFile}
)

// open opens the filesystem that the boot loader reads: the EFI system partition for
// systemd-boot, /boot for the others.
func open(_ context.Context, setup sdk.Setup) (bootdir.Volume, bootdir.Loader, error) {
	s := readSettings(setup)
	if s.loader == loaderSdboot || s.loader == "" && (s.esp != "" || setup.Live && startedBySdboot()) {
		return openSdboot(setup, s)
	}
	volume, err := bootdir.OpenExt(setup)
	if err != nil {
		return nil, nil, err
	}
	loader, err := findLoader(volume, s)
	if err != nil {
		volume.Close()
		return nil, nil, err
	}
	return volume, loader, nil
}

// findLoader gives the loader on /boot that the settings name, or the one whose files
// are there.
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
	case exists(v.Path(sdbootEntries)):
		return nil, sdk.Errorf(sdk.CodeUnsupported, operation, v.Directory, "systemd-boot reads entries here through a driver that cannot write %s, so it could not count tries; its kernels have to lie on the EFI system partition: set esp to where that is mounted", v.Superblock.Kind)
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

// espDirectories is where an EFI system partition is mounted by custom (man
// systemd-gpt-auto-generator, Debian's installer).
var espDirectories = [...]string{"/efi", "/boot/efi", "/boot"}

// startedBySdboot asks the firmware's variables, since files of several loaders may
// lie about.
func startedBySdboot() bool {
	return strings.HasPrefix(efiVariable(efiVariables, "LoaderInfo"), "systemd-boot")
}

func openSdboot(setup sdk.Setup, s settings) (bootdir.Volume, bootdir.Loader, error) {
	volume, err := openESP(setup, s)
	if err != nil {
		return nil, nil, err
	}
	loader := &sdbootLoader{volume: volume}
	if setup.Live {
		loader.variables = efiVariables
	}
	return volume, loader, nil
}

// openESP opens the EFI system partition that the settings name, or on a running
// system the first that is mounted and has systemd-boot's directory.
func openESP(setup sdk.Setup, s settings) (*fatfs.Volume, error) {
	const operation, object = "open", "the EFI system partition"
	if s.esp != "" {
		volume, err := fatfs.OpenMount(s.esp)
		if errors.Is(err, fatfs.ErrNotMounted) {
			return nil, sdk.Errorf(sdk.CodeNotFound, operation, object, "no filesystem is mounted at %s", s.esp)
		}
		return volume, err
	}
	if !setup.Live {
		return nil, sdk.Errorf(sdk.CodeInvalid, operation, object, "esp is not set, and that of this machine is not the one to work on")
	}
	for _, directory := range espDirectories {
		volume, err := fatfs.OpenMount(directory)
		if err != nil {
			continue
		}
		if volume.Filesystem == "vfat" && exists(volume.Path("loader")) {
			return volume, nil
		}
		volume.Close()
	}
	return nil, sdk.Errorf(sdk.CodeNotFound, operation, object, "none with systemd-boot's directory loader is mounted at %s; set esp", strings.Join(espDirectories[:], ", "))
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
