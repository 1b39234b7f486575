package bootdir

import (
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/extfs"
	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

// Names of the settings that every plugin of this package has.
const (
	KeyMount      = "mount"
	KeyDevice     = "device"
	KeyKernels    = "kernels"
	KeyDeviceTree = "device_tree"
)

// Keys describes the settings that OpenExt and the package understand.
func Keys() []sdk.Key {
	return []sdk.Key{
		{Name: KeyMount, Type: sdk.KeyString, Help: "directory where the boot filesystem is mounted; default /boot on a running system"},
		{Name: KeyDevice, Type: sdk.KeyString, Help: "UUID=…, LABEL=…, PARTUUID=… or path of the boot filesystem's device, to be mounted privately; instead of mount"},
		{Name: KeyKernels, Type: sdk.KeyString, Default: strings.Join(kernelset.DefaultKernels(), " "), Help: "patterns, separated by spaces, of where a root tree has its kernel"},
		{Name: KeyDeviceTree, Type: sdk.KeyString, Help: "the one device tree to install, as a path such as broadcom/bcm2837-rpi-3-b.dtb; default: all"},
	}
}

// settings are those of Keys that concern every volume.
type settings struct {
	kernels    []string
	deviceTree string
}

func readSettings(setup sdk.Setup) settings {
	s := settings{kernels: strings.Fields(setup.Settings[KeyKernels]), deviceTree: setup.Settings[KeyDeviceTree]}
	if len(s.kernels) == 0 {
		s.kernels = kernelset.DefaultKernels()
	}
	return s
}

// OpenExt opens the boot filesystem that the settings name, or that is mounted at
// /boot of the running system.
func OpenExt(setup sdk.Setup) (*extfs.Volume, error) {
	const operation, object = "open", "the boot filesystem"
	mount, device := setup.Settings[KeyMount], setup.Settings[KeyDevice]
	switch {
	case mount != "" && device != "":
		return nil, sdk.Errorf(sdk.CodeInvalid, operation, object, "mount and device are both set; one of them says where /boot is")
	case device != "":
		v, err := extfs.OpenDevice(device, setup.RunDirectory)
		return v, wrap(operation, device, err)
	case mount != "":
		v, err := extfs.OpenMount(mount)
		return v, wrap(operation, mount, err)
	case !setup.Live:
		return nil, sdk.Errorf(sdk.CodeInvalid, operation, object, "neither mount nor device is set, and /boot of this machine is not the one to work on")
	}
	if mounted, err := mountinfo.Mounted("/boot"); err != nil || !mounted {
		return nil, sdk.Errorf(sdk.CodeNotFound, operation, object, "no filesystem is mounted at /boot; set mount or device")
	}
	v, err := extfs.OpenMount("/boot")
	return v, wrap(operation, "/boot", err)
}
