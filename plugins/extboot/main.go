// Command tbupdate-boot-extboot is the boot loader plugin for a /boot on ext2,
// ext3 or ext4 that GRUB, extlinux or systemd-boot reads, and for systemd-boot with
// kernels on the EFI system partition.
package main

import (
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/serve"
)

// version is set by the linker (see the Makefile).
var version = "development"

func main() { serve.Boot(bootdir.New(program(version))) }
