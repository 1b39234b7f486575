package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
)

// applets are the programs of busybox that the system has.
const applets = "ash awk basename blockdev cat chmod cmp cp cut date dd df dirname dmesg echo env false find free getopt grep head hostname id insmod ip kill ln ls " +
	"lsmod md5sum mkdir mknod mktemp mount mountpoint mv nohup od poweroff printf ps pwd readlink reboot rm rmdir rmmod sed seq setsid sh sha256sum sleep sort stat " +
	"sync tail tee test timeout touch tr true truncate umount uname uniq uptime vi wc xargs xxd"

// linksOf are symbolic links, target by path.
var linksOf = map[string]string{
	"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
	"usr/sbin/modprobe": "../bin/busybox", "etc/mtab": "../proc/self/mounts",
}

// directories are empty in a release.
var directories = []string{"dev", "proc", "sys", "run", "tmp", "mnt", "root", "var/lib", "boot", "efi", "etc/tbupdate/health.d", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc/lab"}

// epoch is the time of every file, so that two builds of a release are the same.
var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// make builds the root tree of a release at path.
func (b *Builder) make(ctx context.Context, r Release, path string) error {
	// What a umask takes away would differ from machine to machine.
	defer unix.Umask(unix.Umask(0o022))
	steps := []func(context.Context, Release, string) error{b.addSmallSystem, b.addFiles, b.addShell, b.addPrograms, b.addBtrfs, b.addKernel}
	if r.Systemd {
		steps = []func(context.Context, Release, string) error{b.addDistribution, b.addUnits, b.addPrograms, b.addKernel}
	}
	for _, step := range steps {
		if err := step(ctx, r, path); err != nil {
			return err
		}
	}
	return setTimes(path)
}

func (b *Builder) addSmallSystem(ctx context.Context, _ Release, path string) error {
	if err := b.addBase(ctx, path); err != nil {
		return err
	}
	for _, directory := range directories {
		if err := os.MkdirAll(filepath.Join(path, directory), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// addFiles writes what is text, and the links.
func (b *Builder) addFiles(_ context.Context, r Release, path string) error {
	links := map[string]string{}
	for link, target := range linksOf {
		links[link] = target
	}
	for _, applet := range strings.Fields(applets) {
		links["usr/bin/"+applet] = "busybox"
	}
	if r.Defect != NoInit {
		links["usr/sbin/init"] = "../lib/lab/agent"
	}
	for link, target := range links {
		err := os.Symlink(target, filepath.Join(path, link))
		if err != nil && !errors.Is(err, fs.ErrExist) { // what the base has is better
			return err
		}
	}
	files := map[string]string{
		"etc/os-release": "NAME=\"Lab\"\nID=lab\nIMAGE_ID=lab\nIMAGE_VERSION=" + r.Version + "\n",
		"etc/passwd":     "root:x:0:0:root:/root:/bin/sh\n",
		"etc/group":      "root:x:0:\n",
		"etc/hostname":   "lab\n",
	}
	for name, text := range describe(r.Defect) {
		files[strings.TrimPrefix(name, "/")] = text + "\n"
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	check := "#!/bin/sh\necho 'the application answers'\n"
	if r.Defect == Unhealthy {
		check = "#!/bin/sh\necho 'the application does not answer' >&2\nexit 1\n"
	}
	if err := os.WriteFile(filepath.Join(path, "etc/tbupdate/health.d/50-application"), []byte(check), 0o755); err != nil {
		return err
	}
	if err := b.addModel(r, path); err != nil {
		return err
	}
	rc := filepath.Join(path, "usr/lib/tbupdate/tbupdate-rc")
	if err := os.MkdirAll(filepath.Dir(rc), 0o755); err != nil {
		return err
	}
	return os.WriteFile(rc, b.integration, 0o755)
}

// addModel writes what the kind of machine has of its own, and has it trust the vendor.
func (b *Builder) addModel(r Release, path string) error {
	files := maps.Clone(r.Model.Files)
	if files == nil {
		files = map[string]string{}
	}
	files["etc/tbupdate/keys.d/"+vendorKey+".pub"] = string(b.trusted)
	for name, text := range files {
		if err := os.MkdirAll(filepath.Join(path, filepath.Dir(name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// describe gives the files by which a release's own programs know of its defect.
func describe(d Defect) map[string]string {
	switch d {
	case Hang, Stuck, Lockup:
		return map[string]string{protocol.DefectFile: string(d)}
	case HoldBefore:
		return map[string]string{protocol.HoldTrial: "set-default before"}
	case HoldAfter:
		return map[string]string{protocol.HoldTrial: "set-default after"}
	}
	return nil
}

// busybox is the program of Debian's package busybox-static, by architecture.
var busybox = map[string]func(ctx context.Context, b *Builder) (string, error){
	"amd64": func(context.Context, *Builder) (string, error) { return "/bin/busybox", nil },
	"arm64": arm64Busybox,
}

func (b *Builder) addShell(ctx context.Context, _ Release, path string) error {
	shell, err := busybox[b.Arch](ctx, b)
	if err != nil {
		return err
	}
	return copyFile(filepath.Join(path, "usr/bin/busybox"), shell, 0o755)
}

// addPrograms adds what this module builds for a guest.
func (b *Builder) addPrograms(_ context.Context, r Release, path string) error {
	copies := map[string]string{}
	for pattern, directory := range map[string]string{"bin/*": "usr/bin", "plugins/*": "usr/lib/tbupdate/plugins", "lab/agent": "usr/lib/lab"} {
		files, err := filepath.Glob(filepath.Join(b.Guest, pattern))
		if err != nil {
			return err
		}
		for _, file := range files {
			copies[filepath.Join(directory, filepath.Base(file))] = file
		}
	}
	for target, source := range copies {
		if err := copyFile(filepath.Join(path, target), source, 0o755); err != nil {
			return err
		}
	}
	if r.Defect == HoldBefore || r.Defect == HoldAfter {
		return b.addHold(path)
	}
	return nil
}

// addHold puts the plugin that holds in the place of each boot plugin.
func (b *Builder) addHold(path string) error {
	plugins, err := filepath.Glob(filepath.Join(path, "usr/lib/tbupdate/plugins/tbupdate-boot-*"))
	if err != nil {
		return err
	}
	for _, plugin := range plugins {
		if err := copyFile(filepath.Join(path, protocol.RealPlugins, filepath.Base(plugin)), plugin, 0o755); err != nil {
			return err
		}
		if err := copyFile(plugin, b.Hold(), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Hold is the plugin that holds, a program for guests.
func (b *Builder) Hold() string { return filepath.Join(b.Guest, "lab/hold") }

// addKernel adds the kernel, its initramfs and its modules.
func (b *Builder) addKernel(ctx context.Context, r Release, path string) error {
	image, err := os.ReadFile(r.Kernel.image())
	if err != nil {
		return err
	}
	if r.Defect == Truncated {
		image = image[:len(image)/2]
	}
	initrd, err := b.initramfs(r)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"vmlinuz-": image, "initrd.img-": initrd} {
		if err := os.WriteFile(filepath.Join(path, "boot", name+r.Kernel.Release), content, 0o644); err != nil {
			return err
		}
	}
	return r.Kernel.copyModules(ctx, path, slices.Concat(initramfsModules, r.watchdogModules(), rootModules)...)
}

func copyFile(target, source string, mode fs.FileMode) error {
	content, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(target, content, mode); err != nil {
		return fmt.Errorf("cannot copy %s: %w", source, err)
	}
	return nil
}

// setTimes gives everything in the tree the same time.
func setTimes(path string) error {
	when := unix.NsecToTimeval(epoch.UnixNano())
	return filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return unix.Lutimes(path, []unix.Timeval{when, when})
	})
}
