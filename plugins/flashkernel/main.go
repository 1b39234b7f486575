// Command tbupdate-boot-flashkernel is the boot loader plugin for machines that start
// with U-Boot and a /boot on ext2, ext3 or ext4: those for which flash-kernel makes
// U-Boot's script, and those where U-Boot reads an extlinux.conf.
//
// "tbupdate-boot-flashkernel snippet" prints what belongs into flash-kernel's
// directory ubootenv.d, for those who run flash-kernel by hand.
package main

import (
	"fmt"
	"os"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/serve"
)

// version is set by the linker (see the Makefile).
var version = "development"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "snippet" {
		fmt.Print(chooser.Snippet())
		return
	}
	serve.Boot(bootdir.New(program(version)))
}
