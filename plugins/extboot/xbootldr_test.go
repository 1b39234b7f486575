package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/bls"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/fatfs"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// loaderXbootldr is systemd-boot with kernels on an ext filesystem, as the tests call it.
const loaderXbootldr = "systemd-boot with XBOOTLDR"

// The partitions of a disk with XBOOTLDR, in bytes.
const (
	espStart, espSize   = 1 << 20, 40 << 20
	bootStart, bootSize = espStart + espSize, 64 << 20
	espType             = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
)

// newXbootldrDisk makes a disk with an EFI system partition and a /boot, and mounts them
// side by side. Not every kernel that runs the tests has FAT, so another filesystem
// stands in for it, and a directory for the firmware's variables.
func newXbootldrDisk(t *testing.T, filesystem loopback.Filesystem) (*loopback.Device, string) {
	t.Helper()
	base := t.TempDir()
	image := filepath.Join(base, "disk.img")
	mustDo(t, loopback.CreateImage(image, bootStart+bootSize+1<<20))
	writePartitions(t, image, espType, xbootldrType)
	disk := loopback.Open(t, image, "")
	dir := filepath.Join(base, "boot")
	for i, part := range []struct {
		start, size int64
		filesystem  loopback.Filesystem
		directory   string
	}{{espStart, espSize, loopback.Ext4, espBeside(dir)}, {bootStart, bootSize, filesystem, dir}} {
		device, err := disk.AddPartition(i+1, part.start, part.size)
		mustDo(t, err)
		mustDo(t, loopback.Format(t.Context(), device, part.filesystem))
		mustDo(t, os.Mkdir(part.directory, 0o755))
		mustDo(t, loopback.Mount(device, part.directory, part.filesystem))
		t.Cleanup(func() { mustDo(t, loopback.Unmount(part.directory)) })
	}
	for _, directory := range []string{filepath.Join(dir, sdbootEntries), filepath.Join(espBeside(dir), driverDirectory), filepath.Join(espBeside(dir), "loader"), standInVariables(dir)} {
		mustDo(t, os.MkdirAll(directory, 0o755))
	}
	mustDo(t, variables(standInVariables(dir)).set(variableInfo, "systemd-boot 252"))
	writeText(t, filepath.Join(espBeside(dir), driverDirectory, "ext4_x64.efi"), "a driver")
	writeText(t, filepath.Join(espBeside(dir), sdbootConfig), "timeout 0\n#console-mode keep\n")
	writeText(t, filepath.Join(dir, "vmlinuz-6.1"), "foreign")
	writeText(t, filepath.Join(dir, sdbootEntries, "debian-6.1.conf"), foreignSdboot)
	return disk, dir
}

// writePartitions writes a partition table with the two partitions.
func writePartitions(t *testing.T, image, espType, bootType string) {
	t.Helper()
	sfdisk := exec.Command("/usr/sbin/sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", image)
	sfdisk.Stdin = strings.NewReader("label: gpt\nunit: sectors\nstart=2048, size=40MiB, type=" + espType + "\nsize=64MiB, type=" + bootType + "\n")
	if output, err := sfdisk.CombinedOutput(); err != nil {
		t.Fatalf("this test needs sfdisk (apt-get install fdisk): %v\n%s", err, output)
	}
}

// espBeside gives where the EFI system partition is mounted that belongs to a /boot, and
// standInVariables the directory that stands for the firmware's variables.
func espBeside(dir string) string        { return filepath.Join(filepath.Dir(dir), "efi") }
func standInVariables(dir string) string { return filepath.Join(filepath.Dir(dir), "efivars") }

// newXbootldr gives a machine where a1 is the default and b2 is installed.
func newXbootldr(t *testing.T) (*testPlugin, *xbootldrLoader, string) {
	t.Helper()
	_, dir := newXbootldrDisk(t, loopback.Ext4)
	p := openPlugin(t, dir)
	mustInstall(t, p, testEntry(t, "a1"))
	mustDo(t, p.SetDefault(t.Context(), "a1"))
	mustInstall(t, p, testEntry(t, "b2"))
	return p, p.loader.(*xbootldrLoader), dir
}

// What a loss of power leaves of Arm, Disarm and the loader's deletion of the variable,
// and what then boots. The states are those of docs/decisions/0010-xbootldr.md.
func TestXbootldrStatesBetweenWrites(t *testing.T) {
	p, x, dir := newXbootldr(t)
	mustDo(t, p.Arm(t.Context(), "b2", 1))
	file := filepath.Join(dir, sdbootEntries, bls.OneShotName("b2"))
	armed := string(readBytes(t, file))
	off, err := bls.Entry{}.Head(bls.RankOff)
	mustDo(t, err)
	unseen := string(off) + armed[len(off):]
	const none, named = "", "tbupdate-b2.trial.conf"
	tests := []struct {
		name     string
		file     string // content of the trial's file, "-" for no file
		variable string
		trial    string
	}{
		{"Arm: nothing yet", "-", none, ""},
		{"Arm: a name without blocks", "", none, ""},
		{"Arm: blocks without content", strings.Repeat("\x00", len(armed)), none, ""},
		{"Arm: a file that is no entry", unseen, none, ""},
		{"Arm: an entry that is not asked for", armed, none, ""},
		{"Arm: the variable", armed, named, "b2"},
		{"loader: the variable is deleted", armed, none, ""},
		{"Disarm: the variable is deleted", armed, none, ""},
		{"Disarm: the file is no entry any more", unseen, none, ""},
		{"damage: the variable names what is no entry", unseen, named, ""},
		{"damage: the variable names nothing", "-", named, ""},
		{"damage: a variable of others", armed, "debian-6.1.conf", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mustDo(t, x.variables.remove(variableOneShot))
			if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if test.file != "-" {
				writeText(t, file, test.file)
			}
			if test.variable != none {
				mustDo(t, x.variables.set(variableOneShot, test.variable))
			}
			tries := 0
			if test.trial != "" {
				tries = 1
			}
			wantState(t, p, "a1", test.trial, tries)
			mustDo(t, p.Arm(t.Context(), "b2", 1))
			wantState(t, p, "a1", "b2", 1)
			if got := x.variables.get(variableOneShot); got != named {
				t.Errorf("the variable is %q", got)
			}
			mustDo(t, p.Disarm(t.Context()))
			wantState(t, p, "a1", "", 0)
			if got := x.variables.get(variableOneShot); got != "" || exists(file) {
				t.Errorf("the variable is %q, the file is there: %t", got, exists(file))
			}
		})
	}
}

// The entry of a trial is nobody's default as long as there is another one of ours,
// though it stays until the trial was judged.
func TestXbootldrTrialIsLast(t *testing.T) {
	p, x, dir := newXbootldr(t)
	mustDo(t, p.SetDefault(t.Context(), "b2"))
	mustInstall(t, p, testEntry(t, "c3"))
	mustDo(t, p.Arm(t.Context(), "c3", 1))
	mustDo(t, x.variables.remove(variableOneShot)) // as systemd-boot does
	mustDo(t, os.Remove(filepath.Join(dir, "tbupdate/b2/vmlinuz")))
	wantState(t, p, "a1", "", 0)
}

// What others want to boot once stays until a trial is armed, and is told of.
func TestXbootldrVariableOfOthers(t *testing.T) {
	p, x, _ := newXbootldr(t)
	const others = "auto-reboot-to-firmware-setup"
	mustDo(t, x.variables.set(variableOneShot, others))
	wantState(t, p, "a1", "", 0)
	wantFinding(t, p, sdk.SeverityWarning, others)
	mustDo(t, p.Disarm(t.Context()))
	mustDo(t, p.SetDefault(t.Context(), "b2"))
	if got := x.variables.get(variableOneShot); got != others {
		t.Errorf("the variable is %q", got)
	}
	mustDo(t, p.Arm(t.Context(), "a1", 1))
	wantState(t, p, "b2", "a1", 1)
}

// Without variables that can be written there is a default, and no trial.
func TestXbootldrWithoutVariables(t *testing.T) {
	readOnly := loopback.New(t, loopback.Options{Filesystem: loopback.Ext4}).Mount(t, "ro")
	for name, test := range map[string]struct{ directory, text string }{
		"a disk of another machine": {"", "the machine that this disk belongs to"},
		"not mounted":               {t.TempDir(), "none is seen"},
		"mounted read-only":         {readOnly, "read-only"},
	} {
		t.Run(name, func(t *testing.T) {
			_, dir := newXbootldrDisk(t, loopback.Ext4)
			p := openPlugin(t, dir)
			p.loader.(*xbootldrLoader).variables = variables(test.directory)
			mustInstall(t, p, testEntry(t, "a1"))
			mustDo(t, p.SetDefault(t.Context(), "a1"))
			mustInstall(t, p, testEntry(t, "b2"))
			wantState(t, p, "a1", "", 0)
			if err := p.Arm(t.Context(), "b2", 1); !errors.Is(err, sdk.ErrUnsupported) {
				t.Errorf("Arm: %v", err)
			}
			mustDo(t, p.Disarm(t.Context()))
			wantFinding(t, p, sdk.SeverityBlocking, test.text)
			description, err := p.Describe(t.Context())
			if err != nil || description.Has(sdk.CapabilityOneShot) {
				t.Errorf("%+v %v", description.Capabilities, err)
			}
		})
	}
}

// Firmware that refuses the variable, or keeps something else, has armed nothing.
func TestXbootldrVariableIsRefused(t *testing.T) {
	p, x, dir := newXbootldr(t)
	small := loopback.New(t, loopback.Options{Filesystem: loopback.Ext4, Size: 1 << 20}).Mount(t)
	x.variables = variables(small)
	mustDo(t, x.variables.set(variableInfo, "systemd-boot 252"))
	fillUp(t, filepath.Join(small, "filler"))
	err := p.Arm(t.Context(), "b2", 1)
	if err == nil || !strings.Contains(err.Error(), variableOneShot) {
		t.Errorf("Arm: %v", err)
	}
	wantState(t, p, "a1", "", 0)
	if _, err := os.Stat(x.variables.path(variableOneShot)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something of the variable is left: %v", err)
	}
	mustDo(t, p.Disarm(t.Context()))
	if exists(filepath.Join(dir, sdbootEntries, bls.OneShotName("b2"))) {
		t.Error("the trial's file is left")
	}
}

// The kernel makes variables that it does not know immutable.
func TestVariableThatIsImmutable(t *testing.T) {
	v := variables(loopback.New(t, loopback.Options{Filesystem: loopback.Ext4}).Mount(t))
	mustDo(t, v.set(variableOneShot, "a rather long name.conf"))
	if output, err := exec.Command("chattr", "+i", v.path(variableOneShot)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	if err := os.Remove(v.path(variableOneShot)); !errors.Is(err, unix.EPERM) {
		t.Fatalf("it is not immutable: %v", err)
	}
	mustDo(t, v.set(variableOneShot, "b.conf"))
	if want := "\a\x00\x00\x00b\x00.\x00c\x00o\x00n\x00f\x00\x00\x00"; string(readBytes(t, v.path(variableOneShot))) != want {
		t.Errorf("%q", readBytes(t, v.path(variableOneShot)))
	}
	mustDo(t, v.remove(variableOneShot))
	mustDo(t, v.remove(variableOneShot))
	if got := v.get(variableOneShot); got != "" {
		t.Errorf("it says %q", got)
	}
	mustDo(t, v.set(variableEntries, "a.conf\x00b.conf"))
	if got := v.list(variableEntries); !slices.Equal(got, []string{"a.conf", "b.conf"}) {
		t.Errorf("%q", got)
	}
}

// Where kernels lie: an ext filesystem that systemd-boot reads, or else the EFI system
// partition.
func TestXbootldrPlace(t *testing.T) {
	remove := func(t *testing.T, dir string) {
		mustDo(t, os.Remove(filepath.Join(espBeside(dir), driverDirectory, "ext4_x64.efi")))
	}
	ours := func(volume string) {
		writeText(t, filepath.Join(volume, sdbootEntries, bls.FileName("a1")), "title x\n")
	}
	tests := []struct {
		name  string
		setup func(t *testing.T, disk *loopback.Device, dir string)
		named string // the filesystem, or what the error says, for "mount"
		found string // the same on a running system with nothing set
	}{
		{"all is there", func(*testing.T, *loopback.Device, string) {}, "boot", "boot"},
		{"no driver", func(t *testing.T, _ *loopback.Device, dir string) { remove(t, dir) }, "no EFI driver", "esp"},
		{"a driver for something else", func(t *testing.T, _ *loopback.Device, dir string) {
			remove(t, dir)
			writeText(t, filepath.Join(espBeside(dir), driverDirectory, "ntfs_x64.efi"), "x")
		}, "no EFI driver", "esp"},
		{"a driver of the firmware's own", func(t *testing.T, _ *loopback.Device, dir string) {
			remove(t, dir)
			mustDo(t, variables(standInVariables(dir)).set(variableEntries, "auto-efi-default\x00debian-6.1.conf"))
		}, "no EFI driver", "boot"}, // named, it is for a disk of another machine
		{"another type", func(t *testing.T, disk *loopback.Device, _ string) {
			writePartitions(t, disk.Image, espType, "0FC63DAF-8483-4772-8E79-3D69D8477DE4")
		}, "of the type XBOOTLDR only", "esp"},
		{"another partition comes first", func(t *testing.T, disk *loopback.Device, _ string) {
			writePartitions(t, disk.Image, xbootldrType, xbootldrType)
		}, "this is another", "esp"},
		{"entries are on the EFI system partition", func(t *testing.T, _ *loopback.Device, dir string) {
			mustDo(t, os.MkdirAll(filepath.Join(espBeside(dir), sdbootEntries), 0o755))
			ours(espBeside(dir))
		}, "entries of tbupdate are on", "esp"},
		{"entries are on both", func(t *testing.T, _ *loopback.Device, dir string) {
			mustDo(t, os.MkdirAll(filepath.Join(espBeside(dir), sdbootEntries), 0o755))
			ours(espBeside(dir))
			ours(dir)
		}, "entries of tbupdate are on", "entries of tbupdate are on"},
		{"entries are there, and the driver is gone", func(t *testing.T, _ *loopback.Device, dir string) {
			remove(t, dir)
			ours(dir)
		}, "boot", "boot"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			disk, dir := newXbootldrDisk(t, loopback.Ext4)
			test.setup(t, disk, dir)
			esp, err := fatfs.OpenMount(espBeside(dir))
			mustDo(t, err)
			defer func() { mustDo(t, esp.Close()) }()
			want := func(wanted string, setup sdk.Setup, v variables) {
				t.Helper()
				boot, err := openXbootldr(setup, readSettings(setup), esp, v)
				got := "esp"
				switch {
				case err != nil:
					got = err.Error()
				case boot != nil:
					got = "boot"
					mustDo(t, boot.Close())
				}
				if !strings.Contains(got, wanted) {
					t.Errorf("%+v: %s, want %s", setup, got, wanted)
				}
			}
			want(test.named, sdk.Setup{Settings: map[string]string{"mount": dir, "esp": espBeside(dir)}}, "")
			want("esp", sdk.Setup{Settings: map[string]string{"esp": espBeside(dir)}, Live: true}, "")
			mustDo(t, unix.Mount(dir, "/boot", "", unix.MS_BIND, "")) // in the tests' own namespace
			defer func() { mustDo(t, unix.Unmount("/boot", 0)) }()
			want(test.found, sdk.Setup{Live: true}, variables(standInVariables(dir)))
			want("esp", sdk.Setup{Settings: map[string]string{"esp": espBeside(dir)}}, "")
		})
	}
}

// A /boot that was forgotten to be mounted must not lead to a second set of entries.
func TestXbootldrBootIsNotMounted(t *testing.T) {
	_, dir := newXbootldrDisk(t, loopback.Ext4)
	esp, err := fatfs.OpenMount(espBeside(dir))
	mustDo(t, err)
	defer func() { mustDo(t, esp.Close()) }()
	v := variables(standInVariables(dir))
	mustDo(t, v.set(variableEntries, "tbupdate-a1.conf\x00auto-reboot-to-firmware-setup"))
	if _, err := openXbootldr(sdk.Setup{Live: true}, settings{}, esp, v); !errors.Is(err, sdk.ErrNotFound) || !strings.Contains(err.Error(), "mount the partition") {
		t.Errorf("error %v", err)
	}
	mustDo(t, os.MkdirAll(filepath.Join(espBeside(dir), sdbootEntries), 0o755))
	writeText(t, filepath.Join(espBeside(dir), sdbootEntries, bls.FileName("a1")), "title x\n")
	if boot, err := openXbootldr(sdk.Setup{Live: true}, settings{}, esp, v); boot != nil || err != nil {
		t.Errorf("%v %v", boot, err)
	}
}

// A driver that is taken away, or does not know the filesystem, is told of.
func TestXbootldrCheck(t *testing.T) {
	_, dir := newXbootldrDisk(t, loopback.Ext4)
	p := openPlugin(t, dir)
	mustInstall(t, p, testEntry(t, "a1"))
	mustDo(t, p.SetDefault(t.Context(), "a1"))
	mustDo(t, p.loader.(*xbootldrLoader).variables.set(variableEntries, "auto-reboot-to-firmware-setup"))
	wantFinding(t, p, sdk.SeverityWarning, "systemd-boot listed nothing of it")
	mustDo(t, os.Remove(filepath.Join(espBeside(dir), driverDirectory, "ext4_x64.efi")))
	again := openPlugin(t, dir)
	wantFinding(t, again, sdk.SeverityBlocking, "no EFI driver")
	if err := again.Arm(t.Context(), "a1", 1); !errors.Is(err, sdk.ErrUnsupported) {
		t.Errorf("Arm: %v", err)
	}
	wantState(t, again, "a1", "", 0)
}
