package image

import (
	"context"
	"fmt"
	"maps"
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
		Program: "qemu-system-x86_64", Arguments: efiPC(), Variables: firmwareVariables, Memory: x86Memory, Kernel: x86Kernel,
		First:  Partition{Type: efiSystem, Size: 64 << 20, FAT: true},
		Plugin: "extboot", BootConfig: bootOnPartition,
		Install: installGRUBForEFI,
	}
}

// systemdBoot is a PC with systemd-boot, which has the kernels on the EFI system partition.
func systemdBoot() Platform {
	return Platform{
		Name: "systemd-boot", Arch: "amd64",
		Program: "qemu-system-x86_64", Arguments: efiPC(), Variables: firmwareVariables, Memory: x86Memory, Kernel: x86Kernel,
		First:  Partition{Type: efiSystem, Size: 128 << 20, FAT: true},
		Fstab:  []string{"/dev/vda1 " + espMount + " vfat rw,noatime,umask=077 0 0"},
		Plugin: "extboot", InGuest: true,
		BootConfig: func(*Disk) []string { return []string{`loader = "systemd-boot"`, fmt.Sprintf("esp = %q", espMount)} },
		Install:    installSystemdBoot,
	}
}

// systemdBootXbootldr is a PC with systemd-boot, which has the kernels in /boot and reads
// that through an EFI driver. The plugin finds all of it by itself.
func systemdBootXbootldr() Platform {
	p := systemdBoot()
	p.Name, p.First.Size = "systemd-boot-xbootldr", 64<<20
	p.BootConfig = func(*Disk) []string { return nil }
	p.Install = installSystemdBootXbootldr
	return p
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
	entry := filepath.Join(d.Work, "installed.conf")
	if err := os.WriteFile(entry, d.installedEntry(arguments), 0o644); err != nil {
		return err
	}
	return d.copySystemdBoot(ctx, []string{"::/loader/entries"}, map[string]string{
		"::/loader/entries/installed.conf": entry,
		"::/" + d.Kernel:                   filepath.Join(d.Boot, d.Kernel), "::/" + d.Initrd: filepath.Join(d.Boot, d.Initrd),
	})
}

// extDriver is rEFInd's driver, where "make deps" unpacks it.
const extDriver = "refind/usr/share/refind/refind/drivers_x64/ext4_x64.efi"

// installSystemdBootXbootldr does the same with everything in /boot, and adds the driver.
func installSystemdBootXbootldr(ctx context.Context, d *Disk, arguments string) error {
	driver := filepath.Join(d.spec.Downloads, extDriver)
	if _, err := os.Stat(driver); err != nil {
		return fmt.Errorf("there is no EFI driver for ext: run make deps (%w)", err)
	}
	entries := filepath.Join(d.Boot, "loader/entries")
	if err := os.MkdirAll(entries, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(entries, "installed.conf"), d.installedEntry(arguments), 0o644); err != nil {
		return err
	}
	const directory = "::/EFI/systemd/drivers"
	return d.copySystemdBoot(ctx, []string{directory}, map[string]string{directory + "/ext4_x64.efi": driver})
}

// installedEntry is the entry of the installed system.
func (d *Disk) installedEntry(arguments string) []byte {
	return fmt.Appendf(nil, "title Installed system\nsort-key installed\nlinux /%s\ninitrd /%s\noptions %s\n", d.Kernel, d.Initrd, arguments)
}

// copySystemdBoot copies systemd-boot onto the EFI system partition, and what else is
// given, as copyToFAT does.
func (d *Disk) copySystemdBoot(ctx context.Context, directories []string, files map[string]string) error {
	config := filepath.Join(d.Work, "loader.conf")
	if err := os.WriteFile(config, []byte("timeout 0\n"), 0o644); err != nil {
		return err
	}
	const program = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
	maps.Copy(files, map[string]string{removable: program, "::/EFI/systemd/systemd-bootx64.efi": program, "::/loader/loader.conf": config})
	return d.copyToFAT(ctx, append([]string{"::/EFI", "::/EFI/BOOT", "::/EFI/systemd", "::/loader"}, directories...), files)
}
