package main

import (
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
)

// modules are loaded from the root, not from the initramfs: with a kernel that is not
// theirs the guest could not speak.
var modules = []string{"virtio_console"}

// system brings the small system up and then serves.
func system() error {
	for _, module := range modules {
		// By its full name: the kernel's table of aliases is not shipped.
		if output, err := exec.Command("modprobe", module).CombinedOutput(); err != nil {
			say(protocol.Trouble, "cannot load %s: %v: %s", module, err, output)
		}
	}
	if output, err := exec.Command("mount", "-a").CombinedOutput(); err != nil {
		say(protocol.Trouble, "mount -a: %v: %s", err, output)
	}
	if _, err := os.Stat("/sys/firmware/efi"); err == nil {
		mountVariables()
	}
	integrate(protocol.Early, "early")
	return serve(func() {
		if defect() == protocol.DefectStuck {
			say(protocol.Defect, protocol.DefectStuck)
			return
		}
		integrate(protocol.Late, "up")
	})
}

// mountVariables shows the variables of UEFI firmware, as systemd does.
func mountVariables() {
	if output, err := exec.Command("modprobe", "efivarfs").CombinedOutput(); err != nil {
		say(protocol.Trouble, "cannot load efivarfs: %v: %s", err, output)
	}
	if err := unix.Mount("efivarfs", "/sys/firmware/efi/efivars", "efivarfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		say(protocol.Trouble, "cannot mount the firmware's variables: %v", err)
	}
}

// integration is the boot integration for machines without systemd.
const integration = "/usr/lib/tbupdate/tbupdate-rc"

// integrate runs a half of the boot integration. It prints on the console, as under any
// init: what it leaves in the background keeps its standard output open.
func integrate(what, half string) {
	command := exec.Command(integration, half)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	if err := command.Run(); command.ProcessState == nil {
		say(protocol.Trouble, "cannot run %s: %v", integration, err)
		return
	}
	say(what, "exit=%d", command.ProcessState.ExitCode())
}
