package image

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os/exec"

	"github.com/trebuchet-update/tbupdate/lab/command"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

const (
	sector    = 512
	alignment = 1 << 20
)

// Partition types (the Discoverable Partitions Specification, and GRUB's for its core image).
const (
	biosBoot   = "21686148-6449-6E6F-744E-656564454649"
	efiSystem  = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	extendedBt = "BC13C2FF-59E6-4262-A352-B275FD6F7172"
	linuxData  = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
)

// Span is a part of a disk, in bytes.
type Span struct{ Start, Size int64 }

// Partitions says where the partitions are: First, /boot, root.
func (s Spec) Partitions() (all [3]Span) {
	boot := s.BootSize
	if boot == 0 {
		boot = bootSize
	}
	end := int64(alignment)
	for i, size := range [3]int64{s.Platform.First.Size, boot, rootSize} {
		all[i] = Span{end, size}
		end += size
	}
	return all
}

// partition makes the image file with its table.
func (d *Disk) partition(ctx context.Context) error {
	types := [3]string{d.spec.Platform.First.Type, extendedBt, linuxData}
	table := bytes.NewBufferString("label: gpt\n")
	d.Partitions = d.spec.Partitions()
	for i, p := range d.Partitions {
		fmt.Fprintf(table, "start=%d, size=%d, type=%s", p.Start/sector, p.Size/sector, types[i])
		if types[i] == extendedBt {
			// What extlinux' boot record and U-Boot's distro boot look for.
			fmt.Fprint(table, ", attrs=LegacyBIOSBootable")
		}
		fmt.Fprintln(table)
	}
	last := d.Partitions[len(d.Partitions)-1]
	if err := loopback.CreateImage(d.Image, last.Start+last.Size+alignment); err != nil {
		return err
	}
	sfdisk := exec.CommandContext(ctx, "/usr/sbin/sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", d.Image)
	sfdisk.Stdin = table
	if output, err := sfdisk.CombinedOutput(); err != nil {
		return fmt.Errorf("sfdisk: %w: %s", err, output)
	}
	return nil
}

// attach formats the partitions and gives them devices.
func (d *Disk) attach(ctx context.Context) (err error) {
	if d.spec.Platform.First.FAT {
		// By mtools at an offset: the host's kernel needs no vfat.
		if _, err := command.Run(ctx, nil, "mformat", "-i", d.FAT(), "-F", "-v", "LAB",
			"-T", fmt.Sprint(d.spec.Platform.First.Size/sector), "-h", "64", "-s", "32", "-H", fmt.Sprint(d.Partitions[0].Start/sector), "::"); err != nil {
			return err
		}
	}
	if d.loop, err = loopback.Attach(d.Image); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = d.loop.Detach()
		}
	}()
	if d.BootDevice, err = d.loop.AddPartition(2, d.Partitions[1].Start, d.Partitions[1].Size); err != nil {
		return err
	}
	if d.RootDevice, err = d.loop.AddPartition(3, d.Partitions[2].Start, d.Partitions[2].Size); err != nil {
		return err
	}
	if d.BootUUID, err = newUUID(); err != nil {
		return err
	}
	if d.RootUUID, err = newUUID(); err != nil {
		return err
	}
	// What boot loaders' drivers do not know of ext4 is left out.
	if err := loopback.Format(ctx, d.BootDevice, loopback.Ext4, "-L", "boot", "-U", d.BootUUID,
		"-O", "^64bit,^metadata_csum,^metadata_csum_seed,^orphan_file"); err != nil {
		return err
	}
	return loopback.Format(ctx, d.RootDevice, loopback.Btrfs, "-L", "root", "-U", d.RootUUID)
}

// FAT is the first partition, for the mtools option -i.
func (d *Disk) FAT() string { return fmt.Sprintf("%s@@%d", d.Image, d.Partitions[0].Start) }

// newUUID gives a random one (RFC 9562, version 4).
func newUUID() (string, error) {
	var u [16]byte
	if _, err := rand.Read(u[:]); err != nil {
		return "", err
	}
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]), nil
}
