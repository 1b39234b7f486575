package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/extfs"
)

// findTrials finds the place for the trial. place is the part of chooser.Default that
// says where it is. A place that is not there is no reason to know nothing about the
// boot loader: it is a noTrials.
func findTrials(volume *extfs.Volume, s settings) (found trials, place chooser.Default) {
	if s.board {
		return boardTrials{config: s.envConfig, redundant: s.layout.Flags}, chooser.Default{CountedByUBoot: true}
	}
	directory := s.state
	if directory == "" {
		var err error
		if directory, err = findState(volume, s.live); err != nil {
			return noTrials{err}, chooser.Default{}
		}
	}
	place, err := findPlace(volume, directory, s.statePartition)
	if err != nil {
		return noTrials{err}, chooser.Default{}
	}
	return fileTrials{directory, s.layout}, place
}

// findState looks for a FAT filesystem that is mounted from the disk of the boot
// filesystem.
func findState(volume *extfs.Volume, live bool) (string, error) {
	const operation, object = "find", "the filesystem for the count of trials"
	if !live {
		return "", sdk.Errorf(sdk.CodeInvalid, operation, object, "state is not set, and what is mounted on this machine is not what to look at")
	}
	boot, err := partitionOf(volume.Path())
	if err != nil {
		return "", err
	}
	mounts, err := mountinfo.GetMounts(func(info *mountinfo.Info) (skip, stop bool) {
		return info.FSType != "vfat" && info.FSType != "msdos" || info.Root != "/", false
	})
	if err != nil {
		return "", fmt.Errorf("cannot read the mount table: %w", err)
	}
	directories := map[string]string{} // by device
	for _, info := range mounts {
		if p, err := partitionOf(info.Mountpoint); err == nil && p.disk == boot.disk {
			directories[fmt.Sprint(info.Major, ":", info.Minor)] = info.Mountpoint
		}
	}
	var all []string
	for _, directory := range directories {
		all = append(all, directory)
	}
	switch len(all) {
	case 1:
		return all[0], nil
	case 0:
		return "", sdk.Errorf(sdk.CodeNotFound, operation, object, "no FAT filesystem is mounted from the disk of %s, and U-Boot writes no other; make one, mount it and set state, or set counter = \"board\" where U-Boot counts by itself", volume.Path())
	}
	return "", sdk.Errorf(sdk.CodeInvalid, operation, object, "more than one FAT filesystem is mounted from the disk of %s (%s); set state", volume.Path(), strings.Join(all, ", "))
}

// findPlace says where U-Boot finds a directory's filesystem.
func findPlace(volume *extfs.Volume, directory, setting string) (chooser.Default, error) {
	const operation = "find the partition of"
	if strings.Contains(setting, ":") {
		return chooser.Default{Device: setting}, nil
	}
	if setting != "" {
		number, err := strconv.ParseUint(setting, 10, 8)
		if err != nil || number == 0 {
			return chooser.Default{}, sdk.Errorf(sdk.CodeInvalid, operation, directory, "%s is %q, which is neither a partition's number nor a device and partition as in \"mmc 1:2\"", keyStatePartition, setting)
		}
		return chooser.Default{Partition: int(number)}, nil
	}
	if err := checkFAT(directory); err != nil {
		return chooser.Default{}, err
	}
	state, err := partitionOf(directory)
	if err != nil {
		return chooser.Default{}, sdk.Errorf(sdk.CodeNotFound, operation, directory, "%w; set %s", err, keyStatePartition)
	}
	boot, err := partitionOf(volume.Path())
	if err != nil {
		return chooser.Default{}, sdk.Errorf(sdk.CodeNotFound, operation, volume.Path(), "%w; set %s", err, keyStatePartition)
	}
	if state.disk != boot.disk {
		return chooser.Default{}, sdk.Errorf(sdk.CodeInvalid, operation, directory, "it is not on the disk of %s; set %s to what U-Boot calls it, such as \"mmc 1:2\"", volume.Path(), keyStatePartition)
	}
	return chooser.Default{Partition: state.number}, nil
}

// checkFAT makes sure that a FAT filesystem is mounted at a directory: where it is
// not, there mostly is a directory of another filesystem.
func checkFAT(directory string) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(directory, &stat); err != nil {
		return &os.PathError{Op: "statfs", Path: directory, Err: err}
	}
	if stat.Type != unix.MSDOS_SUPER_MAGIC {
		return sdk.Errorf(sdk.CodeNotFound, "find the partition of", directory, "no FAT filesystem is mounted there, and U-Boot writes no other")
	}
	return nil
}

// partition is one as the kernel numbers it, which is how U-Boot does.
type partition struct {
	disk   string // its directory in /sys
	number int
}

func partitionOf(directory string) (partition, error) {
	var stat unix.Stat_t
	if err := unix.Stat(directory, &stat); err != nil {
		return partition{}, &os.PathError{Op: "stat", Path: directory, Err: err}
	}
	device, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev)))
	if err != nil {
		return partition{}, fmt.Errorf("%s is not on a block device: %w", directory, err)
	}
	text, err := os.ReadFile(filepath.Join(device, "partition"))
	if err != nil {
		return partition{}, fmt.Errorf("%s is not on a partition: %w", directory, err)
	}
	number, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return partition{disk: filepath.Dir(device), number: number}, err
}
