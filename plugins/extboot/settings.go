package main

import (
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/kernelset"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// Names of the loaders, in settings and in the state.
const (
	loaderGRUB     = "grub"
	loaderExtlinux = "extlinux"
)

// Names of the settings.
const (
	keyMount             = "mount"
	keyDevice            = "device"
	keyLoader            = "loader"
	keyGRUBDirectory     = "grub_directory"
	keyExtlinuxDirectory = "extlinux_directory"
	keyKernels           = "kernels"
	keyDeviceTree        = "device_tree"
)

func keys() []sdk.Key {
	return []sdk.Key{
		{Name: keyMount, Type: sdk.KeyString, Help: "directory where the boot filesystem is mounted; default /boot on a running system"},
		{Name: keyDevice, Type: sdk.KeyString, Help: "UUID=…, LABEL=…, PARTUUID=… or path of the boot filesystem's device, to be mounted privately; instead of mount"},
		{Name: keyLoader, Type: sdk.KeyString, Allowed: []string{loaderGRUB, loaderExtlinux}, Help: "boot loader; default: the one that is found"},
		{Name: keyGRUBDirectory, Type: sdk.KeyString, Help: "directory of grub.cfg on the boot filesystem; default: grub, grub2 or boot/grub"},
		{Name: keyExtlinuxDirectory, Type: sdk.KeyString, Help: "directory of extlinux.conf on the boot filesystem; default: extlinux, syslinux or boot/extlinux"},
		{Name: keyKernels, Type: sdk.KeyString, Default: strings.Join(kernelset.DefaultKernels(), " "), Help: "patterns, separated by spaces, of where a root tree has its kernel"},
		{Name: keyDeviceTree, Type: sdk.KeyString, Help: "the one device tree to install, as a path such as broadcom/bcm2837-rpi-3-b.dtb; default: all"},
	}
}

// settings are Setup.Settings with defaults applied.
type settings struct {
	mount               string // "" when device is set
	device              string // "" when mount is set
	loader              string // "" to find out
	grubDirectories     []string
	extlinuxDirectories []string
	kernels             []string
	deviceTree          string
}

func readSettings(setup sdk.Setup) (settings, error) {
	const operation, object = "configure", "extboot"
	values := setup.Settings
	s := settings{
		mount:               values[keyMount],
		device:              values[keyDevice],
		loader:              values[keyLoader],
		grubDirectories:     []string{"grub", "grub2", "boot/grub"},
		extlinuxDirectories: []string{"extlinux", "syslinux", "boot/extlinux"},
		kernels:             kernelset.DefaultKernels(),
		deviceTree:          values[keyDeviceTree],
	}
	if s.mount != "" && s.device != "" {
		return settings{}, sdk.Errorf(sdk.CodeInvalid, operation, object, "mount and device are both set; one of them says where /boot is")
	}
	if dir := values[keyGRUBDirectory]; dir != "" {
		s.grubDirectories = []string{dir}
	}
	if dir := values[keyExtlinuxDirectory]; dir != "" {
		s.extlinuxDirectories = []string{dir}
	}
	if patterns := strings.Fields(values[keyKernels]); len(patterns) > 0 {
		s.kernels = patterns
	}
	if s.mount == "" && s.device == "" {
		if !setup.Live {
			return settings{}, sdk.Errorf(sdk.CodeInvalid, operation, object, "neither mount nor device is set, and /boot of this machine is not the one to work on")
		}
		if mounted, err := mountinfo.Mounted("/boot"); err != nil || !mounted {
			return settings{}, sdk.Errorf(sdk.CodeNotFound, operation, object, "no filesystem is mounted at /boot; set mount or device")
		}
		s.mount = "/boot"
	}
	return s, nil
}
