package main

import (
	"context"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/bootscript"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/envimage"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/extlinux"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/jail"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// program is this plugin: package bootdir over U-Boot.
func program(version string) bootdir.Program {
	return bootdir.Program{
		Name:     "flashkernel",
		Version:  version,
		Summary:  "U-Boot with /boot on ext2, ext3 or ext4, through flash-kernel or extlinux.conf",
		Keys:     keys(),
		MaxTries: chooser.MaxTries,
		Errors: map[error]sdk.Code{
			envimage.ErrFull:        sdk.CodeInvalid,
			envimage.ErrValue:       sdk.CodeInvalid,
			envimage.ErrMalformed:   sdk.CodeCorrupt,
			chooser.ErrMalformed:    sdk.CodeCorrupt,
			bootscript.ErrMalformed: sdk.CodeCorrupt,
			extlinux.ErrUnsupported: sdk.CodeUnsupported,
			jail.ErrMissing:         sdk.CodeUnsupported,
			jail.ErrFailed:          sdk.CodeUnsupported,
			errResult:               sdk.CodeUnsupported,
		},
		Open: open,
	}
}

func open(_ context.Context, setup sdk.Setup) (bootdir.Volume, bootdir.Loader, error) {
	s, err := readSettings(setup)
	if err != nil {
		return nil, nil, err
	}
	volume, err := bootdir.OpenExt(setup)
	if err != nil {
		return nil, nil, err
	}
	loader := &ubootLoader{volume: volume, settings: s}
	loader.trials, loader.place = findTrials(volume, s)
	return volume, loader, nil
}
