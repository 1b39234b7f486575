package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/lab/command"
)

// The firmware of the EFI machines, from Debian's package ovmf.
const (
	firmwareCode      = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	firmwareVariables = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// efiPC is the PC with UEFI firmware instead of a BIOS.
func efiPC() []string {
	return append(append([]string{}, pc...), "-drive", "if=pflash,format=raw,readonly=on,file="+firmwareCode)
}

// espMount is where the machines mount their EFI system partition.
const espMount = "/efi"

// grubEFI is a PC with GRUB on its EFI system partition, and all else in /boot.
func grubEFI() Platform {
	return Platform{
		Name: "grub-efi", Arch: "amd64",
		Program: "qemu-system-x86_64", Arguments: efiPC(), Variables: firmwareVariables, Memory: x86Memory, Console: "ttyS0",
		First:  Partition{Type: efiSystem, Size: 64 << 20, FAT: true},
		Plugin: "extboot", BootConfig: bootOnPartition,
		Install: installGRUBForEFI,
	}
}

// systemdBoot is a PC with systemd-boot, which has the kernels on the EFI system partition.
func systemdBoot() Platform {
	return Platform{
		Name: "systemd-boot", Arch: "amd64",
		Program: "qemu-system-x86_64", Arguments: efiPC(), Variables: firmwareVariables, Memory: x86Memory, Console: "ttyS0",
		First:  Partition{Type: efiSystem, Size: 128 << 20, FAT: true},
		Fstab:  []string{"/dev/vda1 " + espMount + " vfat rw,noatime,umask=077 0 0"},
		Plugin: "extboot", InGuest: true,
		BootConfig: func(*Disk) []string { return []string{`loader = "systemd-boot"`, fmt.Sprintf("esp = %q", espMount)} },
		Install:    installSystemdBoot,
	}
}

// removable is where firmware looks for a boot loader on a disk that it knows nothing of.
const removable = "::/EFI/BOOT/BOOTX64.EFI"

// copyToFAT copies files into the first partition, source by target ("::/loader/loader.conf"),
// after making directories.
func (d *Disk) copyToFAT(ctx context.Context, directories []string, files map[string]string) error {
	if _, err := command.Run(ctx, nil, "mmd", append([]string{"-i", d.FAT()}, directories...)...); err != nil {
		return err
	}
	for target, source := range files {
		if _, err := command.Run(ctx, nil, "mcopy", "-i", d.FAT(), source, target); err != nil {
			return err
		}
	}
	return nil
}

func installGRUBForEFI(ctx context.Context, d *Disk, arguments string) error {
	const target = "x86_64-efi"
	if err := d.writeGRUB(ctx, target, arguments); err != nil {
		return err
	}
	// Firmware numbers disks as it likes: GRUB looks for the filesystem.
	early := filepath.Join(d.Work, "early.cfg")
	text := "search --no-floppy --fs-uuid --set=root " + d.BootUUID + "\nset prefix=($root)/grub\nconfigfile $prefix/grub.cfg\n"
	if err := os.WriteFile(early, []byte(text), 0o644); err != nil {
		return err
	}
	core := filepath.Join(d.Work, "grub.efi")
	image := append([]string{"-O", target, "-p", "/grub", "-c", early, "-o", core, "fat"}, grubModules...)
	if _, err := command.Run(ctx, nil, "grub-mkimage", image...); err != nil {
		return err
	}
	return d.copyToFAT(ctx, []string{"::/EFI", "::/EFI/BOOT"}, map[string]string{removable: core})
}

// installSystemdBoot does what bootctl install and kernel-install do.
func installSystemdBoot(ctx context.Context, d *Disk, arguments string) error {
	entry, config := filepath.Join(d.Work, "installed.conf"), filepath.Join(d.Work, "loader.conf")
	for path, text := range map[string]string{
		entry:  fmt.Sprintf("title Installed system\nsort-key installed\nlinux /%s\ninitrd /%s\noptions %s\n", d.Kernel, d.Initrd, arguments),
		config: "timeout 0\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	const program = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
	return d.copyToFAT(ctx, []string{"::/EFI", "::/EFI/BOOT", "::/EFI/systemd", "::/loader", "::/loader/entries"}, map[string]string{
		removable: program, "::/EFI/systemd/systemd-bootx64.efi": program,
		"::/loader/loader.conf": config, "::/loader/entries/installed.conf": entry,
		"::/" + d.Kernel: filepath.Join(d.Boot, d.Kernel), "::/" + d.Initrd: filepath.Join(d.Boot, d.Initrd),
	})
}
