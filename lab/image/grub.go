package image

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"github.com/trebuchet-update/tbupdate/lab/command"
)

// grubBIOS is a PC with GRUB in its boot record.
func grubBIOS() Platform {
	return Platform{
		Name: "grub", Arch: "amd64",
		Program: "qemu-system-x86_64", Arguments: pc, Memory: x86Memory, Kernel: x86Kernel,
		First:  Partition{Type: biosBoot, Size: 1 << 20},
		Plugin: "extboot", BootConfig: bootOnPartition,
		Install: installGRUBForBIOS,
	}
}

// bootOnPartition configures a plugin that keeps everything in /boot.
func bootOnPartition(disk *Disk) []string {
	if disk == nil {
		return []string{`mount = "/boot"`}
	}
	return []string{fmt.Sprintf("device = %q", disk.BootDevice)}
}

// grubModules are what GRUB needs to come to /boot/grub, and what grub.cfg uses.
var grubModules = []string{"part_gpt", "ext2", "normal", "linux", "configfile", "loadenv", "serial", "terminal", "test", "echo",
	"reboot", "sleep", "search", "search_fs_uuid", "search_label", "minicmd", "true"}

// grubConfig is a grub.cfg as grub-mkconfig would write it, without its menu.
var grubConfig = template.Must(template.New("grub.cfg").Parse(`serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
if [ -s $prefix/grubenv ]; then
  load_env
fi
set default="0"
set timeout=0
menuentry 'Installed system' --id installed {
  search --no-floppy --fs-uuid --set=root {{.UUID}}
  linux /{{.Kernel}} {{.Arguments}}
  initrd /{{.Initrd}}
}
if [ -f ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
elif [ -z "${config_directory}" -a -f $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
`))

// writeGRUB writes what GRUB reads at run time: its modules for a target, and grub.cfg.
func (d *Disk) writeGRUB(ctx context.Context, target, arguments string) error {
	directory := filepath.Join(d.Boot, "grub", target)
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	for _, pattern := range []string{"*.mod", "*.lst"} {
		files, err := filepath.Glob(filepath.Join("/usr/lib/grub", target, pattern))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("there is no GRUB for %s in /usr/lib/grub", target)
		}
		if _, err := command.Run(ctx, nil, "cp", append(files, directory)...); err != nil {
			return err
		}
	}
	var config bytes.Buffer
	err := grubConfig.Execute(&config, map[string]string{"UUID": d.BootUUID, "Kernel": d.Kernel, "Initrd": d.Initrd, "Arguments": arguments})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.Boot, "grub/grub.cfg"), config.Bytes(), 0o644); err != nil {
		return err
	}
	_, err = command.Run(ctx, nil, "grub-editenv", filepath.Join(d.Boot, "grub/grubenv"), "create")
	return err
}

func installGRUBForBIOS(ctx context.Context, d *Disk, arguments string) error {
	if err := d.writeGRUB(ctx, "i386-pc", arguments); err != nil {
		return err
	}
	core := filepath.Join(d.Work, "core.img")
	_, err := command.Run(ctx, nil, "grub-mkimage", append([]string{"-O", "i386-pc", "-p", "(hd0,gpt2)/grub", "-o", core, "biosdisk"}, grubModules...)...)
	if err != nil {
		return err
	}
	return d.writeBootRecord(core)
}

// Where GRUB's images hold which sector comes next (boot.h and diskboot.S of GRUB).
const (
	bootRecordCode  = 440  // the rest of the sector is the disk's signature and table
	bootKernel      = 0x5c // in boot.img: the sector of core.img, 64 bits
	bootDriveCheck  = 0x66 // in boot.img: a jump that is taken where the BIOS' drive number is not to be trusted
	coreSecond      = 0x1f4
	noOperation     = 0x90
	bootImage       = "/usr/lib/grub/i386-pc/boot.img"
	driveCheckBytes = 2
)

// writeBootRecord does what grub-install does, which refuses partitions of loop devices:
// core.img into the first partition, boot.img in front of it.
func (d *Disk) writeBootRecord(coreFile string) error {
	boot, err := os.ReadFile(bootImage)
	if err != nil {
		return err
	}
	core, err := os.ReadFile(coreFile)
	if err != nil {
		return err
	}
	if int64(len(core)) > d.spec.Platform.First.Size {
		return errors.New("GRUB's core image is bigger than its partition")
	}
	first := uint64(d.Partitions[0].Start / sector)
	binary.LittleEndian.PutUint64(boot[bootKernel:], first)
	for i := range driveCheckBytes {
		boot[bootDriveCheck+i] = noOperation
	}
	binary.LittleEndian.PutUint64(core[coreSecond:], first+1)
	f, err := os.OpenFile(d.Image, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(boot[:bootRecordCode], 0); err != nil {
		return err
	}
	_, err = f.WriteAt(core, d.Partitions[0].Start)
	return err
}
