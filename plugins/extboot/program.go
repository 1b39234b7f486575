package main

import (
	"github.com/trebuchet-update/tbupdate/plugins/extboot/bls"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/extlinux"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// program is this plugin: package bootdir over GRUB, extlinux or systemd-boot.
func program(version string) bootdir.Program {
	return bootdir.Program{
		Name:     "extboot",
		Version:  version,
		Summary:  "GRUB, extlinux or systemd-boot with /boot on ext2, ext3 or ext4; systemd-boot by itself",
		Keys:     keys(),
		MaxTries: grubcfg.MaxTries,
		Errors: map[error]sdk.Code{
			extlinux.ErrForeign: sdk.CodeUnsupported,
			extlinux.ErrValue:   sdk.CodeInvalid,
			bls.ErrValue:        sdk.CodeInvalid,
			grubcfg.ErrArgument: sdk.CodeInvalid,
		},
		Open: open,
	}
}
