package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/bls"
	"github.com/trebuchet-update/tbupdate/sdk/blockdevice"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// xbootldrLoader is systemd-boot with kernels on an ext filesystem, which it reads
// through an EFI driver and cannot write to.
//
// It differs from sdbootLoader in the trial, which it cannot count. The trial's file is
// an entry that stands after all others of ours, and the variable LoaderEntryOneShot
// names it: systemd-boot deletes that before it boots anything. So setting it arms the
// trial, deleting it takes the trial back, and the file alone is nothing.
// docs/decisions/0010-xbootldr.md has the reasons and the crash windows.
type xbootldrLoader struct {
	sdbootLoader
	unread unread // why systemd-boot does not read the filesystem
}

// unread is a reason and what can be done about it, both "" when there is none.
type unread struct{ problem, remedy string }

// MaxTries: without the variable it knows no trial.
func (x *xbootldrLoader) MaxTries() int {
	if x.unread.problem != "" || x.variables.unwritable() != "" {
		return 0
	}
	return 1
}

// Close releases the EFI system partition.
func (x *xbootldrLoader) Close() error { return x.esp.Close() }

// Read does what systemd-boot does with what is on the disk, and in the variable.
func (x *xbootldrLoader) Read(context.Context) (bootdir.Choice, error) {
	m, err := x.readMenu()
	if err != nil {
		return bootdir.Choice{}, err
	}
	now, id := m.read(), m.asked()
	named := func(e bls.Read) bool { return id != "" && strings.EqualFold(e.File, m.oneShot) }
	if slices.ContainsFunc(m.ours(), named) {
		now.Held = append(now.Held, id)
	}
	if slices.ContainsFunc(m.entries, named) {
		now.Trial, now.TriesLeft = id, 1
	}
	return now, nil
}

// Arm writes a file of its own for the trial, and then the variable.
func (x *xbootldrLoader) Arm(ctx context.Context, id string, _ int) error {
	now, err := x.Read(ctx)
	if err != nil || now.Trial == id {
		return err
	}
	if err := comesBack(id, now); err != nil {
		return err
	}
	if err := x.Disarm(ctx); err != nil {
		return err
	}
	file := bls.OneShotName(id)
	if err := x.writeTrial(id, file, bls.RankLast); err != nil {
		return err
	}
	return x.variables.set(variableOneShot, file)
}

// Disarm removes the variable, and then what it named. What others want to boot once
// stays.
func (x *xbootldrLoader) Disarm(context.Context) error {
	return x.disarm(func(string) bool { return true })
}

func (x *xbootldrLoader) disarm(which func(id string) bool) error {
	m, err := x.readMenu()
	if err != nil {
		return err
	}
	if id := m.asked(); id != "" && which(id) {
		if err := x.variables.remove(variableOneShot); err != nil {
			return err
		}
	}
	return x.removeTrials(func(name bls.Name) bool { return which(name.ID) })
}

// SetDefault puts the entry before all others with one sector. A trial of the same
// entry goes before that: in between, the former default boots.
func (x *xbootldrLoader) SetDefault(_ context.Context, id string) error {
	if err := x.disarm(func(trial string) bool { return trial == id }); err != nil {
		return err
	}
	if err := x.putFirst(id); err != nil {
		return err
	}
	return x.keepFirst()
}

// xbootldrType is the partition type at which systemd-boot looks besides the EFI system
// partition (Boot Loader Specification).
const xbootldrType = "bc13c2ff-59e6-4262-a352-b275fd6f7172"

// driverDirectory is where systemd-boot finds EFI drivers, since version 250.
const driverDirectory = "EFI/systemd/drivers"

// whyUnread does what systemd-boot does: from the partition that it was started from to
// the first of the type on the same disk, with the drivers that it has loaded.
func whyUnread(boot, esp bootdir.Volume, v variables) unread {
	where, own := deviceOf(esp), deviceOf(boot)
	switch found, err := blockdevice.FirstOfType(where, xbootldrType); {
	case err != nil:
		return unread{"systemd-boot reads a partition of the type XBOOTLDR only: " + err.Error(), "sfdisk --part-type DISK NUMBER " + xbootldrType}
	case found != own:
		return unread{"systemd-boot reads the first partition of the type XBOOTLDR on the disk of the EFI system partition only, and this is another", "set mount or device to that one"}
	}
	if listedAny(v, boot) {
		return unread{} // it did read it
	}
	drivers, err := filepath.Glob(esp.Path(driverDirectory, "*"))
	if err == nil && slices.ContainsFunc(drivers, isExtDriver) {
		return unread{}
	}
	return unread{"systemd-boot has no EFI driver for ext in " + driverDirectory + " on the EFI system partition", "put one there, such as ext4_x64.efi of rEFInd"}
}

// isExtDriver goes by the name: ext4_x64.efi, ext2_x64.efi.
func isExtDriver(path string) bool {
	name := strings.ToLower(filepath.Base(path))
	return strings.HasPrefix(name, "ext") && strings.HasSuffix(name, ".efi")
}

// listedAny reports whether systemd-boot listed an entry of a filesystem when it started
// this system.
func listedAny(v variables, volume bootdir.Volume) bool {
	listed := v.list(variableEntries)
	files, err := entryFiles(volume)
	return err == nil && slices.ContainsFunc(files, func(file string) bool { return slices.Contains(listed, strings.ToLower(file)) })
}

// holdsOurs reports whether a filesystem has entries of ours.
func holdsOurs(volume bootdir.Volume) bool {
	files, err := entryFiles(volume)
	return err == nil && slices.ContainsFunc(files, isOurs)
}

func isOurs(file string) bool {
	_, ours := bls.ParseName(file)
	return ours
}

// deviceOf gives the number of the block device behind a filesystem, 0 when it cannot
// be known.
func deviceOf(volume bootdir.Volume) uint64 {
	var stat unix.Stat_t
	if err := unix.Stat(volume.Path(), &stat); err != nil {
		return 0
	}
	return stat.Dev
}
