package crash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/trebuchet-update/tbupdate/lab/command"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// loader is a boot loader.
type loader interface {
	name() string
	// counts reports whether it counts tries.
	counts() bool
	// install puts it, as a distribution does, and the kernel of a system into /boot, which is mounted
	// at top.
	install(ctx context.Context, d *disk, top string, s *system) error
	// config gives the plugin, and its settings for a disk, as lines of the configuration.
	config(d *disk) string
	// start does what the loader does when the machine is switched on, with all that it writes, and
	// gives what it starts. Nobody has the disk mounted, and no journal is replayed.
	start(ctx context.Context, d *disk) (started, error)
}

// preparer is a loader whose plugin works on what somebody else has mounted.
type preparer interface {
	// prepare mounts it, by disk.mount, before programs run on the disk. start unmounts it first.
	prepare(ctx context.Context, d *disk) error
}

// wrapper is a loader whose plugin needs to run in surroundings of its own.
type wrapper interface {
	// wrap gives the words of a command before a program and its arguments.
	wrap(d *disk) []string
}

// unjournaled is a loader whose /boot has no journal.
type unjournaled interface{ unjournaled() }

// bootFeatures are features of the ext4 filesystem that is /boot. What boot loaders' drivers do not know of is left
// out.
func bootFeatures(l loader) string {
	const features = "^64bit,^metadata_csum,^metadata_csum_seed,^orphan_file"
	if _, ok := l.(unjournaled); ok {
		return features + ",^has_journal"
	}
	return features
}

// started is what a boot loader starts.
type started struct {
	image, initrd [sha256.Size]byte // digests of the kernel and of its initial RAM disk
	arguments     string
}

// loaders are those that run on this host.
var loaders = []loader{grub{}, extlinux{}, uboot{}, uboot{extlinux: true}, sdboot{}, xbootldr{}}

func run(ctx context.Context, program string, arguments ...string) error {
	_, err := command.Run(ctx, nil, program, arguments...)
	return err
}

// digestOnDevice hashes a file of an ext filesystem that is not mounted.
func digestOnDevice(ctx context.Context, device, path string) ([sha256.Size]byte, error) {
	content, err := onDevice(ctx, device, path)
	return sha256.Sum256(content), err
}

// onDevice reads a file of an ext filesystem that is not mounted, as it is without its journal.
func onDevice(ctx context.Context, device, path string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	debugfs := exec.CommandContext(ctx, "/usr/sbin/debugfs", "-R", fmt.Sprintf("cat %q", path), device)
	debugfs.Stdout, debugfs.Stderr = &stdout, &stderr
	// It says what is wrong by its standard error only, whose first line is its name.
	err := debugfs.Run()
	if _, said, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n"); err != nil || said != "" {
		return nil, fmt.Errorf("cannot read %q of %s: %v %s", path, device, err, said)
	}
	return stdout.Bytes(), nil
}

// grub is GRUB itself, as the program grub-emu.
type grub struct{}

func (grub) name() string { return "grub" }
func (grub) counts() bool { return true }

// grubModules is where the program's modules are.
const grubModules = "/usr/lib/grub/x86_64-emu"

// grubNotes stands before the distribution's grub.cfg. The program cannot boot: these functions write down
// what would be, onto a disk of their own, and leave.
const grubNotes = `
function linux {
	if [ -s "$1" ]; then
		set kernel="$1"
		set arguments="$*"
	else
		false
	fi
}
function initrd {
	set initrd="$1"
	save_env --file (hd1)/notes kernel arguments initrd
	reboot
}
`

// grubConfig is as grub-mkconfig would write it, without its menu.
const grubConfig = `set default="0"
set timeout=0
menuentry 'Installed system' --id installed {
	linux /%s root=LABEL=root rootflags=subvol=` + installed + ` ro quiet
	initrd /%s
}
if [ -f ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
elif [ -z "${config_directory}" -a -f $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
`

// putKernel puts the kernel of a system where distributions do, and gives the names of it and of its initial
// RAM disk.
func putKernel(top string, s *system) (kernel, initrd string, err error) {
	kernel, initrd = "vmlinuz-"+s.kernel, "initrd.img-"+s.kernel
	for _, name := range []string{kernel, initrd} {
		if err := copyFile(filepath.Join(s.tree, "boot", name), filepath.Join(top, name)); err != nil {
			return "", "", err
		}
	}
	return kernel, initrd, nil
}

func (grub) install(_ context.Context, _ *disk, top string, s *system) error {
	kernel, initrd, err := putKernel(top, s)
	if err != nil {
		return err
	}
	modules := filepath.Join(top, "grub", filepath.Base(grubModules))
	if err := os.MkdirAll(modules, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"command.lst", "loadenv.mod", "test.mod", "echo.mod", "search.mod", "search_fs_uuid.mod", "sleep.mod", "reboot.mod",
		"true.mod", "boot.mod", "ext2.mod", "normal.mod", "configfile.mod", "disk.mod", "fshelp.mod"} {
		err := copyFile(filepath.Join(grubModules, name), filepath.Join(modules, name))
		if err != nil && !os.IsNotExist(err) { // or it is built in
			return err
		}
	}
	return os.WriteFile(filepath.Join(top, "grub/grub.cfg"), fmt.Appendf(nil, grubNotes+grubConfig, kernel, initrd), 0o644)
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}

func (grub) config(d *disk) string {
	return fmt.Sprintf("[boot]\nplugin = \"extboot\"\n[boot.config]\ndevice = %q\n", d.boot)
}

// longestStart is how long a boot loader may take.
const longestStart = time.Minute

func (g grub) start(ctx context.Context, d *disk) (started, error) {
	work, err := os.MkdirTemp("", "lab-crash-grub-")
	if err != nil {
		return started{}, err
	}
	defer os.RemoveAll(work)
	notes := filepath.Join(work, "notes")
	if err := newNotes(ctx, notes); err != nil {
		return started{}, err
	}
	devices := filepath.Join(work, "device.map")
	if err := os.WriteFile(devices, fmt.Appendf(nil, "(hd0) %s\n(hd1) %s\n", d.boot, notes), 0o600); err != nil {
		return started{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, longestStart)
	defer cancel()
	// It wants a terminal; script gives it one.
	emulator := exec.CommandContext(ctx, "script", "-qec", "grub-emu -m "+devices+" -r hd0 -d /grub", "/dev/null")
	emulator.Env = append(os.Environ(), "TERM=vt100")
	emulator.WaitDelay = time.Second
	screen, _ := emulator.CombinedOutput() // how it leaves says nothing
	block, err := onDevice(ctx, notes, "/notes")
	if err != nil {
		return started{}, err
	}
	values := map[string]string{}
	for line := range strings.Lines(string(block)) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			values[name] = strings.TrimSpace(value)
		}
	}
	if values["kernel"] == "" {
		return started{}, fmt.Errorf("GRUB starts nothing: %q", screen)
	}
	s := started{arguments: "BOOT_IMAGE=" + values["arguments"]}
	if s.image, err = digestOnDevice(ctx, d.boot, values["kernel"]); err != nil {
		return s, err
	}
	s.initrd, err = digestOnDevice(ctx, d.boot, values["initrd"])
	return s, err
}

// newNotes makes a disk that holds nothing but an empty environment block.
func newNotes(ctx context.Context, image string) error {
	content := image + ".d"
	if err := os.Mkdir(content, 0o700); err != nil {
		return err
	}
	const header, size = "# GRUB Environment Block\n", 4096
	if err := os.WriteFile(filepath.Join(content, "notes"), []byte(header+strings.Repeat("#", size-len(header))), 0o600); err != nil {
		return err
	}
	if err := loopback.CreateImage(image, 1<<20); err != nil {
		return err
	}
	return loopback.Format(ctx, image, loopback.Ext2, "-d", content)
}
