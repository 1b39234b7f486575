package main

import (
	"context"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/extlinux"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// program is this plugin: package bootdir over GRUB or extlinux.
func program(version string) bootdir.Program {
	return bootdir.Program{
		Name:     "extboot",
		Version:  version,
		Summary:  "GRUB or extlinux with /boot on ext2, ext3 or ext4",
		Keys:     keys(),
		MaxTries: grubcfg.MaxTries,
		Errors: map[error]sdk.Code{
			extlinux.ErrForeign: sdk.CodeUnsupported,
			extlinux.ErrValue:   sdk.CodeInvalid,
			grubcfg.ErrArgument: sdk.CodeInvalid,
		},
		Open: open,
	}
}

func open(_ context.Context, setup sdk.Setup) (bootdir.Volume, bootdir.Loader, error) {
	volume, err := bootdir.OpenExt(setup)
	if err != nil {
		return nil, nil, err
	}
	loader, err := findLoader(volume, readSettings(setup))
	if err != nil {
		volume.Close()
		return nil, nil, err
	}
	return volume, loader, nil
}
