package arm64tree

import (
	"context"
	"os"
	"path/filepath"
	"strconv"

	"github.com/trebuchet-update/tbupdate/lab/command"
)

// Emulator and Memory (in MiB) are of the board that the device tree describes.
const (
	Emulator = "qemu-system-aarch64"
	Memory   = 512
)

// Board is how the emulator is told to be that board. A machine of the laboratory has
// to be started with all of it.
//
// With a firmware given the board differs (its power button hangs on another
// device), so that a kernel dies at once with a tree dumped without it. Seeds in the
// tree would make each dump another file.
func Board() []string {
	return []string{
		"-M", "virt,dtb-randomness=off", "-cpu", "cortex-a57", "-smp", "1",
		"-bios", "/usr/lib/u-boot/qemu_arm64/u-boot.bin",
	}
}

// writeDeviceTree asks QEMU for the board's device tree. It pads it to a MiB; the
// compiler takes that away.
func writeDeviceTree(ctx context.Context, path string) error {
	dir, err := os.MkdirTemp("", "device-tree-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	dump := filepath.Join(dir, "virt.dtb")
	arguments := append(Board(), "-M", "dumpdtb="+dump, "-m", strconv.Itoa(Memory), "-display", "none", "-net", "none")
	if _, err := command.Run(ctx, nil, Emulator, arguments...); err != nil {
		return err
	}
	_, err = command.Run(ctx, nil, "dtc", "-q", "-I", "dtb", "-O", "dtb", "-o", path, dump)
	return err
}
