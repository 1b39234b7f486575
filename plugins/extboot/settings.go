package main

import (
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// Names of the loaders, in settings and in the state.
const (
	loaderGRUB     = "grub"
	loaderExtlinux = "extlinux"
	loaderSdboot   = "systemd-boot"
)

// Names of the settings besides those of package bootdir.
const (
	keyLoader            = "loader"
	keyGRUBDirectory     = "grub_directory"
	keyExtlinuxDirectory = "extlinux_directory"
	keyESP               = "esp"
)

func keys() []sdk.Key {
	return append(bootdir.Keys(),
		sdk.Key{Name: keyLoader, Type: sdk.KeyString, Allowed: []string{loaderGRUB, loaderExtlinux, loaderSdboot}, Help: "boot loader; default: the one that is found"},
		sdk.Key{Name: keyGRUBDirectory, Type: sdk.KeyString, Help: "directory of grub.cfg on the boot filesystem; default: grub, grub2 or boot/grub"},
		sdk.Key{Name: keyExtlinuxDirectory, Type: sdk.KeyString, Help: "directory of extlinux.conf on the boot filesystem; default: extlinux, syslinux or boot/extlinux"},
		sdk.Key{Name: keyESP, Type: sdk.KeyString, Help: "for systemd-boot: directory where the EFI system partition is mounted; default on a running system: /efi, /boot/efi or /boot; without mount and device, kernels lie there"},
	)
}

// settings are Setup.Settings with defaults applied.
type settings struct {
	loader              string // "" to find out
	grubDirectories     []string
	extlinuxDirectories []string
	esp                 string // "" to find out
}

func readSettings(setup sdk.Setup) settings {
	s := settings{
		loader:              setup.Settings[keyLoader],
		esp:                 setup.Settings[keyESP],
		grubDirectories:     []string{"grub", "grub2", "boot/grub"},
		extlinuxDirectories: []string{"extlinux", "syslinux", "boot/extlinux"},
	}
	if dir := setup.Settings[keyGRUBDirectory]; dir != "" {
		s.grubDirectories = []string{dir}
	}
	if dir := setup.Settings[keyExtlinuxDirectory]; dir != "" {
		s.extlinuxDirectories = []string{dir}
	}
	return s
}
