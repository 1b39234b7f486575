package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/lab/command"
)

// extlinux is a PC with extlinux in /boot.
func extlinux() Platform {
	return Platform{
		Name: "extlinux", Arch: "amd64",
		Program: "qemu-system-x86_64", Arguments: pc, Memory: x86Memory, Kernel: x86Kernel,
		// It needs no partition for itself; every disk of the lab has one.
		First:  Partition{Type: linuxData, Size: 1 << 20},
		Plugin: "extboot", BootConfig: bootOnPartition,
		Install: installExtlinux,
	}
}

// bootRecord is the code for the disk's first sector, which starts the partition that is
// marked bootable in the GPT.
const bootRecord = "/usr/lib/EXTLINUX/gptmbr.bin"

func installExtlinux(ctx context.Context, d *Disk, arguments string) error {
	directory := filepath.Join(d.Boot, "extlinux")
	if err := os.Mkdir(directory, 0o755); err != nil {
		return err
	}
	if _, err := command.Run(ctx, nil, "extlinux", "--install", "--device="+d.BootDevice, directory); err != nil {
		return err
	}
	config := fmt.Sprintf("SERIAL 0 115200\nDEFAULT installed\nPROMPT 0\nTIMEOUT 0\nLABEL installed\n  LINUX /%s\n  INITRD /%s\n  APPEND %s\n",
		d.Kernel, d.Initrd, arguments)
	if err := os.WriteFile(filepath.Join(directory, "extlinux.conf"), []byte(config), 0o644); err != nil {
		return err
	}
	code, err := os.ReadFile(bootRecord)
	if err != nil {
		return err
	}
	if len(code) > bootRecordCode {
		return fmt.Errorf("%s is longer than %d bytes", bootRecord, bootRecordCode)
	}
	f, err := os.OpenFile(d.Image, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(code, 0)
	return err
}
