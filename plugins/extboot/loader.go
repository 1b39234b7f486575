package main

import (
	"context"
	"errors"
	"os"
	"path"
	"slices"
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

// open opens the filesystem that the boot loader reads: /boot, and for systemd-boot
// mostly the EFI system partition.
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
		return nil, sdk.Errorf(sdk.CodeUnsupported, operation, v.Directory, "only systemd-boot has entries here; set esp to where its EFI system partition is mounted")
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
	return strings.HasPrefix(ownVariables.get(variableInfo), "systemd-boot")
}

// openSdboot opens where the kernels of systemd-boot lie: on an ext filesystem that it
// reads, or else on the EFI system partition.
func openSdboot(setup sdk.Setup, s settings) (bootdir.Volume, bootdir.Loader, error) {
	var v variables
	if setup.Live {
		v = ownVariables
	}
	esp, err := openESP(setup, s)
	if err != nil {
		return nil, nil, err
	}
	boot, err := openXbootldr(setup, s, esp, v)
	if err != nil {
		return nil, nil, errors.Join(err, esp.Close())
	}
	if boot == nil {
		return esp, &sdbootLoader{volume: esp, esp: esp, variables: v}, nil
	}
	return boot, &xbootldrLoader{sdbootLoader{volume: boot, esp: esp, variables: v}, whyUnread(boot, esp, v)}, nil
}

// openXbootldr opens the ext filesystem for the kernels of systemd-boot, nil where they
// belong onto the EFI system partition. The settings mount and device name it; without
// those and esp it is the running system's /boot, where systemd-boot reads that. Entries
// that are there already stay where they are.
func openXbootldr(setup sdk.Setup, s settings, esp bootdir.Volume, v variables) (*extfs.Volume, error) {
	const operation, object = "open", "the boot filesystem"
	mount, device := setup.Settings[bootdir.KeyMount], setup.Settings[bootdir.KeyDevice]
	named := mount != "" || device != ""
	var boot *extfs.Volume
	if named || s.esp == "" && setup.Live {
		var err error
		boot, err = bootdir.OpenExt(setup)
		isESP := device == "" && errors.Is(err, extfs.ErrNotExt)
		if err != nil && !isESP && (named || !errors.Is(err, sdk.ErrNotFound)) {
			return nil, err
		}
	}
	if boot == nil {
		if slices.ContainsFunc(v.list(variableEntries), isOurs) && !holdsOurs(esp) {
			return nil, sdk.Errorf(sdk.CodeNotFound, operation, object, "systemd-boot listed entries of tbupdate when it started this system, and they are not on the EFI system partition; mount the partition where they are at /boot, or set mount or device")
		}
		return nil, nil
	}
	why := whyUnread(boot, esp, v)
	switch {
	case holdsOurs(esp) && (named || holdsOurs(boot)):
		return nil, errors.Join(sdk.Errorf(sdk.CodeInvalid, operation, object, "entries of tbupdate are on the EFI system partition; set esp and neither mount nor device to stay with them, or remove them"), boot.Close())
	case holdsOurs(boot), why.problem == "" && !holdsOurs(esp):
		return boot, nil
	case named:
		return nil, errors.Join(sdk.Errorf(sdk.CodeUnsupported, operation, object, "%s; %s; or set esp and neither mount nor device, for kernels on the EFI system partition", why.problem, why.remedy), boot.Close())
	}
	return nil, boot.Close()
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
