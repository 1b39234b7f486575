// Package image makes disk images of machines that boot: a partition table, a real
// boot loader, /boot, and a root on btrfs that "tbupdate init" has taken into the
// layout. They are cached by what they are made from, and never written to: machines
// run on overlays.
package image

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trebuchet-update/tbupdate/lab/cache"
	"github.com/trebuchet-update/tbupdate/lab/command"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// recipe is this package's source: what is in the cache was made by exactly it.
//
//go:embed *.go
var recipe embed.FS

// Spec says what image to make.
type Spec struct {
	Platform Platform
	// Tree is the root tree, of a release that has Files.
	Tree string
	// BootSize is that of the filesystem for /boot, in bytes; 0 for plenty.
	BootSize int64
	// Systemd is set for a system with systemd; the others are the lab's small one.
	Systemd bool
	// ConfirmTimeout is that of the configuration; 0 for plenty.
	ConfirmTimeout time.Duration
	// Programs is a directory with bin/tbupdate and plugins/ for this host.
	Programs string
	// Downloads is a directory with what "make deps" has unpacked there.
	Downloads string
}

// The sizes of what has no other.
const (
	bootSize = 192 << 20
	rootSize = 1 << 30
)

// Disk is an image while it is being made.
type Disk struct {
	Image string
	// Partitions are First, /boot and root.
	Partitions [3]Span
	// Devices are the block devices of /boot and of the root.
	BootDevice, RootDevice string
	BootUUID, RootUUID     string
	// Boot is where /boot is mounted, Tree where the installed system is.
	Boot, Tree string
	// Kernel and Initrd are files in /boot, of the installed system.
	Kernel, Initrd string
	// Work is a directory for temporary files.
	Work string

	spec   Spec
	loop   *loopback.Loop
	volume string // where the top level of the volume is mounted
}

// Installed is the subvolume of the installed system, before it was taken into the
// layout.
const Installed = "@rootfs"

// Build gives the path of the image, a raw file.
//
// It mounts filesystems: call loopback.Isolate at the program's start.
func Build(ctx context.Context, store cache.Store, spec Spec) (string, error) {
	var parts []any
	entries, err := recipe.ReadDir(".")
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		content, err := recipe.ReadFile(entry.Name())
		if err != nil {
			return "", err
		}
		parts = append(parts, content)
	}
	parts = append(parts, spec.Platform.Name, spec.Platform.Arguments, spec.Platform.First, spec.Tree, spec.BootSize, spec.Systemd, spec.ConfirmTimeout, spec.Programs)
	return store.Get("image-"+spec.Platform.Name, cache.KeyOf(parts...), func(path string) error {
		d := &Disk{Image: path, spec: spec}
		return d.make(ctx)
	})
}

// make makes the image from nothing. What is mounted and attached is let go of in any
// case.
func (d *Disk) make(ctx context.Context) (err error) {
	if d.Work, err = os.MkdirTemp("", "lab-image-"); err != nil {
		return err
	}
	defer os.RemoveAll(d.Work) // everything below it is unmounted by then
	if err := d.partition(ctx); err != nil {
		return err
	}
	if err := d.fill(ctx); err != nil {
		return err
	}
	if d.spec.Platform.InGuest {
		return d.initialiseInGuest(ctx)
	}
	return nil
}

// fill puts the system onto the disk and, where this host can, takes it into the layout.
func (d *Disk) fill(ctx context.Context) (err error) {
	if err := d.attach(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.loop.Detach()) }()
	if err := d.mounted(func() error { return d.install(ctx) }); err != nil {
		return err
	}
	if d.spec.Platform.InGuest {
		return nil
	}
	if err := d.initialise(ctx); err != nil {
		return err
	}
	return d.mounted(func() error {
		_, err := command.Run(ctx, nil, "btrfs", "-q", "subvolume", "delete", "--commit-after", filepath.Join(d.volume, Installed))
		return err
	})
}

// mounted runs act with the filesystems mounted.
func (d *Disk) mounted(act func() error) (err error) {
	d.Boot, d.volume = filepath.Join(d.Work, "boot"), filepath.Join(d.Work, "volume")
	d.Tree = filepath.Join(d.volume, Installed)
	for _, m := range []struct {
		device, directory string
		filesystem        loopback.Filesystem
		options           []string
	}{
		{d.BootDevice, d.Boot, loopback.Ext4, nil},
		{d.RootDevice, d.volume, loopback.Btrfs, []string{"subvolid=5"}},
	} {
		if err := os.MkdirAll(m.directory, 0o755); err != nil {
			return err
		}
		if err := loopback.Mount(m.device, m.directory, m.filesystem, m.options...); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, loopback.Unmount(m.directory)) }()
	}
	return act()
}

// install puts the system onto the disk, as an installer would.
func (d *Disk) install(ctx context.Context) error {
	if _, err := command.Run(ctx, nil, "btrfs", "-q", "subvolume", "create", d.Tree); err != nil {
		return err
	}
	if _, err := command.Run(ctx, nil, "cp", "-a", d.spec.Tree+"/.", d.Tree); err != nil {
		return err
	}
	if err := d.copyKernel(ctx); err != nil {
		return err
	}
	return d.spec.Platform.Install(ctx, d, d.arguments())
}

// copyKernel copies the system's kernel to /boot.
func (d *Disk) copyKernel(ctx context.Context) error {
	for pattern, name := range map[string]*string{"vmlinuz-*": &d.Kernel, "initrd.img-*": &d.Initrd} {
		files, err := filepath.Glob(filepath.Join(d.Tree, "boot", pattern))
		if err != nil {
			return err
		}
		if len(files) != 1 {
			return fmt.Errorf("%s has %d files boot/%s instead of one", d.spec.Tree, len(files), pattern)
		}
		*name = filepath.Base(files[0])
		if _, err := command.Run(ctx, nil, "cp", files[0], d.Boot); err != nil {
			return err
		}
	}
	return nil
}

// Files are those that releases have for the machine, contents by path.
func (s Spec) Files() map[string]string {
	mounts := append([]string{
		"LABEL=root / btrfs rw,noatime 0 0",
		"/dev/vda2 /boot ext4 rw,noatime 0 2",
	}, s.Platform.Fstab...)
	files := map[string]string{"etc/fstab": strings.Join(mounts, "\n") + "\n", "etc/tbupdate/config.toml": s.config(nil, "")}
	maps.Copy(files, s.Platform.Files)
	return files
}

// Kernel arguments: a console that says little, and for a trial a panic that ends in a
// restart and a watchdog that does not wait long.
const (
	commonArguments = "quiet"
	trialArguments  = "panic=2 softdog.soft_margin=45"
)

// config gives the configuration of the machine, or with a disk that of the host for
// the machine's disk, and where the plugins for that are.
func (s Spec) config(host *Disk, plugins string) string {
	p := s.Platform
	lines := []string{
		"[system]", `product = "lab"`,
		"[fs]", `plugin = "btrfs"`,
	}
	if host != nil {
		lines = append(lines, "[fs.config]", fmt.Sprintf("device = %q", host.RootDevice))
	}
	lines = append(lines,
		"[boot]", fmt.Sprintf("plugin = %q", p.Plugin),
		fmt.Sprintf("arguments = %q", p.Kernel+" "+commonArguments),
	)
	if !s.Systemd { // which can do with the default
		lines = append(lines, fmt.Sprintf("trial_arguments = %q", trialArguments))
	}
	lines = append(lines, "[boot.config]")
	lines = append(lines, p.BootConfig(host)...)
	lines = append(lines, "[update]", `reboot = "manual"`, s.confirmTimeout())
	if host != nil {
		lines = append(lines, "[plugins]", fmt.Sprintf("dirs = [%q]", plugins))
	}
	return strings.Join(lines, "\n") + "\n"
}

// confirmTimeout is long enough for a busy host.
func (s Spec) confirmTimeout() string {
	timeout := s.ConfirmTimeout
	if timeout == 0 {
		timeout = 4 * time.Minute
	}
	return fmt.Sprintf("confirm_timeout = %q", timeout)
}

// arguments are those of the installed system's kernel.
func (d *Disk) arguments() string {
	return fmt.Sprintf("root=UUID=%s rootflags=subvol=%s rw %s %s", d.RootUUID, Installed, d.spec.Platform.Kernel, commonArguments)
}

// initialise takes the installed system into the layout, with the updater itself.
func (d *Disk) initialise(ctx context.Context) error {
	// In a place that only root can write to, since other plugins are refused.
	if _, err := command.Run(ctx, nil, "cp", "-r", filepath.Join(d.spec.Programs, "plugins"), d.Work); err != nil {
		return err
	}
	config, line := filepath.Join(d.Work, "config.toml"), filepath.Join(d.Work, "cmdline")
	for path, text := range map[string]string{config: d.spec.config(d, filepath.Join(d.Work, "plugins")), line: d.arguments() + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, err := command.Run(ctx, nil, filepath.Join(d.spec.Programs, "bin/tbupdate"), "--config", config, "--cmdline", line, "init")
	return err
}

// Overlay makes a disk for one machine on top of an image.
func Overlay(ctx context.Context, image, path string) error {
	image, err := filepath.Abs(image)
	if err != nil {
		return err
	}
	_, err = command.Run(ctx, nil, "qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "raw", path)
	return err
}
