package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/trebuchet-update/tbupdate/lab/cache"
)

// Platform is a kind of machine: board, firmware and boot loader.
type Platform struct {
	Name string // as scripts have it, such as "grub"
	Arch string // as GOARCH has it
	// Program is the emulator; Arguments are those of the board.
	Program   string
	Arguments []string
	Memory    int // in MiB
	// Variables is a file with the firmware's variables, of which each machine gets a
	// copy of its own as a second pflash; "" for none.
	Variables string
	// Kernel are the kernel's arguments on this machine: its console is the first serial
	// port.
	Kernel string

	// First is the disk's first partition, which belongs to firmware or boot loader.
	First Partition
	// Fstab are lines beside those for / and /boot.
	Fstab []string
	// Files are others that releases have for it, contents by path.
	Files map[string]string
	// Plugin is the boot plugin's name; BootConfig gives its settings as lines of
	// TOML: on the machine itself (disk is nil), and on the host that works on its disk.
	Plugin     string
	BootConfig func(disk *Disk) []string
	// Install writes the boot loader onto the disk, whose /boot and volume are
	// mounted. arguments are those for a kernel that boots the subvolume Installed.
	Install func(ctx context.Context, disk *Disk, arguments string) error
	// InGuest has "tbupdate init" run in the booted machine instead of on the host.
	InGuest bool
	// Complete gives the platform with what the lab builds for it, such as its firmware;
	// nil where a distribution has everything.
	Complete func(ctx context.Context, store cache.Store) (Platform, error)
}

// VariablesFile is the name of a machine's own copy of Variables.
const VariablesFile = "variables"

// Board gives QEMU's arguments for a machine that keeps what belongs to it alone, the
// firmware's variables, in this directory.
func (p Platform) Board(directory string) ([]string, error) {
	arguments := slices.Clone(p.Arguments)
	if p.Variables == "" {
		return arguments, nil
	}
	content, err := os.ReadFile(p.Variables)
	if err != nil {
		return nil, err
	}
	variables := filepath.Join(directory, VariablesFile)
	if err := os.WriteFile(variables, content, 0o600); err != nil {
		return nil, err
	}
	return append(arguments, "-drive", "if=pflash,format=raw,file="+variables), nil
}

// Partition is one of a disk's.
type Partition struct {
	Type string // as sfdisk(8) takes it: a GUID
	Size int64  // in bytes
	// FAT has it formatted so.
	FAT bool
}

// Find gives the platform of a name.
func Find(name string) (Platform, error) {
	var names []string
	for _, p := range All() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Platform{}, fmt.Errorf("there is no platform %q, only %q", name, names)
}

// All gives all platforms.
func All() []Platform { return slices.Concat(x86Platforms(), ubootPlatforms()) }
