package arm64tree

import (
	"context"
	"os"
	"path/filepath"
)

// Machine is how QEMU is told to be the board that the device tree describes. A
// machine of the laboratory has to be started with all of it.
//
// With a firmware given the board differs (its power button hangs on another
// device), so a tree dumped without it makes the kernel die at once. Seeds in the
// tree would make each dump another file; U-Boot hands the kernel none of its own.
func Machine() []string {
	return []string{
		"-M", "virt,dtb-randomness=off", "-cpu", "cortex-a57", "-smp", "1", "-m", "512",
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
	arguments := append(Machine(), "-M", "dumpdtb="+dump, "-display", "none", "-net", "none")
	if err := run(ctx, "qemu-system-aarch64", arguments...); err != nil {
		return err
	}
	return run(ctx, "dtc", "-q", "-I", "dtb", "-O", "dtb", "-o", path, dump)
}
