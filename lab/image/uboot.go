package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"github.com/trebuchet-update/tbupdate/lab/arm64tree"
	"github.com/trebuchet-update/tbupdate/lab/command"
)

// ubootPlatforms are ARM machines with U-Boot: with the distribution's flash-kernel,
// with U-Boot alone, which reads an extlinux.conf, and with a U-Boot that counts.
func ubootPlatforms() []Platform {
	const flashKernel = `method = "flash-kernel"`
	state := fmt.Sprintf("state = %q", stateDirectory)
	return []Platform{
		armBoard("uboot", state, flashKernel),
		armBoard("uboot-extlinux", state, `method = "extlinux"`),
		countingUBoot("uboot-board", `counter = "board"`, flashKernel),
	}
}

// armBoard is QEMU's ARM board. settings are those of the plugin, beside where /boot is.
func armBoard(name string, settings ...string) Platform {
	return Platform{
		Name: name, Arch: "arm64",
		Program:   arm64tree.Emulator,
		Arguments: append(arm64tree.Board(), "-accel", "tcg,thread=multi,tb-size=256"),
		Memory:    arm64tree.Memory,
		Kernel:    "console=ttyAMA0",
		// U-Boot writes its count of tries there, since it does not write to ext4.
		First:      Partition{Type: basicData, Size: 64 << 20, FAT: true},
		Fstab:      []string{"/dev/vda1 " + stateDirectory + " vfat rw,noatime,umask=077 0 0"},
		Plugin:     "flashkernel",
		BootConfig: func(*Disk) []string { return append([]string{`mount = "/boot"`}, settings...) },
		Install:    installUBoot,
		InGuest:    true,
	}
}

// stateDirectory is where the machine mounts the partition that U-Boot writes to.
const stateDirectory = "/boot/state"

// basicData is the partition type of FAT that is not EFI's.
const basicData = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"

// ubootScript boots the installed system, as a vendor's first boot does. The addresses
// are of U-Boot's environment; it leaves the device tree's unset.
var ubootScript = template.Must(template.New("boot.scr").Parse(`setenv fdt_addr_r 0x43000000
setenv bootargs "{{.Arguments}}"
load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} /{{.Kernel}}
load ${devtype} ${devnum}:${distro_bootpart} ${fdt_addr_r} /` + installedDeviceTree + `
load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} /{{.Initrd}}
booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_addr_r}
`))

const installedDeviceTree = "qemu-virt.dtb"

// installUBoot writes what U-Boot, which is the board's firmware, looks for in /boot.
func installUBoot(ctx context.Context, d *Disk, arguments string) error {
	tree := filepath.Join(d.Tree, "etc/flash-kernel/dtbs", installedDeviceTree)
	if _, err := command.Run(ctx, nil, "cp", tree, d.Boot); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(d.Boot, filepath.Base(stateDirectory)), 0o700); err != nil {
		return err
	}
	var text bytes.Buffer
	err := ubootScript.Execute(&text, map[string]string{"Arguments": arguments, "Kernel": d.Kernel, "Initrd": d.Initrd})
	if err != nil {
		return err
	}
	source := filepath.Join(d.Work, "boot.cmd")
	if err := os.WriteFile(source, text.Bytes(), 0o644); err != nil {
		return err
	}
	_, err = command.Run(ctx, nil, "mkimage", "-A", "arm64", "-O", "linux", "-T", "script", "-C", "none", "-n", "boot script",
		"-d", source, filepath.Join(d.Boot, "boot.scr"))
	return err
}
