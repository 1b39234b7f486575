package arm64tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/lab/command"
)

// programs are those of the base tree: what flash-kernel runs, U-Boot's tools, and
// what a story looks with. Their libraries come along.
func programs() []string {
	return []string{
		// flash-kernel and linux-version are scripts.
		"flash-kernel", "linux-version", "dash", "perl", "dpkg", "mkimage", "dumpimage", "fw_printenv", "fw_setenv",
		"find", "grep", "sed",
		"basename", "cat", "chmod", "cp", "cut", "date", "dd", "df", "dirname", "du", "env", "expr", "head", "id",
		"ln", "ls", "mkdir", "mktemp", "mv", "od", "readlink", "realpath", "rm", "rmdir", "sha256sum", "sleep", "sort",
		"stat", "sync", "tail", "touch", "tr", "truncate", "uname", "wc",
		"btrfs", "busybox",
	}
}

// applets are programs that busybox serves for.
func applets() []string {
	return []string{"awk", "cmp", "diff", "dmesg", "insmod", "lsmod", "modprobe", "mount", "rmmod", "umount", "vi"}
}

// folders are copied whole.
func folders() []string {
	return []string{
		"etc/flash-kernel", "usr/share/flash-kernel", "usr/share/perl5/DebianLinux.pm", "usr/lib/aarch64-linux-gnu/perl-base",
	}
}

// mountPoints are empty.
func mountPoints() []string {
	return []string{"boot", "dev", "etc", "home", "mnt", "proc", "root", "run", "sys", "tmp", "var/lib", "var/lock", "var/log", "var/tmp"}
}

// machine is what the device tree of QEMU's board calls itself. flash-kernel's
// database does not know it; a vendor of a board adds an entry in the same way.
const machine = `Machine: linux,dummy-virt
Kernel-Flavors: arm64
DTB-Id: qemu-virt.dtb
Boot-Script-Path: /boot/boot.scr
U-Boot-Script-Name: bootscr.uboot-generic
Required-Packages: u-boot-tools
`

// fdtAddress gives flash-kernel's script the one address that Debian's U-Boot for
// QEMU leaves unset: between the places of the kernel and of the initial RAM disk.
const fdtAddress = `if test -z "${fdt_addr_r}"; then setenv fdt_addr_r 0x43000000; fi
`

// written are files that configuring the packages would have made, or that say
// which machine this is.
func written() map[string]string {
	return map[string]string{
		"etc/default/flash-kernel":                "LINUX_KERNEL_CMDLINE=\"\"\nLINUX_KERNEL_CMDLINE_DEFAULTS=\"\"\n",
		"etc/flash-kernel/db":                     machine,
		"etc/flash-kernel/ubootenv.d/10-fdt-addr": fdtAddress,
		"etc/passwd":                              "root:x:0:0:root:/root:/bin/sh\n",
		"etc/group":                               "root:x:0:\n",
	}
}

// copyBase makes the base tree from the unpacked one.
func copyBase(ctx context.Context, unpacked, to string) error {
	for _, dir := range mountPoints() {
		if err := os.MkdirAll(filepath.Join(to, dir), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"bin", "sbin", "lib"} {
		if err := os.MkdirAll(filepath.Join(to, "usr", dir), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join("usr", dir), filepath.Join(to, dir)); err != nil {
			return err
		}
	}
	for _, folder := range folders() {
		target := filepath.Join(to, folder)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if _, err := command.Run(ctx, nil, "cp", "-a", filepath.Join(unpacked, folder), target); err != nil {
			return err
		}
	}
	if err := shortenDatabase(filepath.Join(to, "usr/share/flash-kernel/db/all.db")); err != nil {
		return err
	}
	if err := copyPrograms(unpacked, to); err != nil {
		return err
	}
	for name, content := range written() {
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return writeDeviceTree(ctx, filepath.Join(to, "etc/flash-kernel/dtbs/qemu-virt.dtb"))
}

func copyPrograms(unpacked, to string) error {
	for _, name := range programs() {
		path, err := findProgram(unpacked, name)
		if err != nil {
			return err
		}
		if err := copyLoadable(unpacked, path, to); err != nil {
			return err
		}
	}
	links := map[string]string{"sh": "dash"}
	for _, applet := range applets() {
		links[applet] = "busybox"
	}
	for name, target := range links {
		err := os.Symlink(target, filepath.Join(to, "usr/bin", name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

func findProgram(tree, name string) (string, error) {
	for _, dir := range []string{"usr/bin", "usr/sbin"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(filepath.Join(tree, path)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("the packages brought no program %s", name)
}

// copyLoadable copies a program or library and all that is loaded with it.
func copyLoadable(from, path, to string) error {
	if _, err := os.Lstat(filepath.Join(to, path)); err == nil {
		return nil
	}
	if err := copyFile(from, path, to); err != nil {
		return err
	}
	script, err := isScript(filepath.Join(from, path))
	if err != nil || script {
		return err
	}
	interpreter, libraries, err := loaded(filepath.Join(from, path))
	if err != nil {
		return err
	}
	if interpreter != "" {
		// /lib is a link to usr/lib here.
		if err := copyLoadable(from, filepath.Join("usr", interpreter), to); err != nil {
			return err
		}
	}
	for _, library := range libraries {
		if err := copyLoadable(from, filepath.Join("usr/lib/aarch64-linux-gnu", library), to); err != nil {
			return err
		}
	}
	return nil
}
