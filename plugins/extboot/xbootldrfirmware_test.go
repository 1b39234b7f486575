package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/bls"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// extDriver is rEFInd's driver, which "make deps" unpacks.
const extDriver = "../../build/cache/refind/usr/share/refind/refind/drivers_x64/ext4_x64.efi"

// xbootldrMachine is a machine with systemd-boot and a /boot that it reads through a
// driver: from a copy of the disk as it is while Linux has it mounted, so without what is
// in memory or in the journal only.
type xbootldrMachine struct {
	firmwareMachine
	disk *loopback.Device
}

func newXbootldrMachine(t *testing.T, filesystem loopback.Filesystem) *xbootldrMachine {
	t.Helper()
	driver, err := os.ReadFile(extDriver)
	if err != nil {
		t.Fatalf("this test needs an EFI driver for ext: run make deps (%v)", err)
	}
	disk, dir := newXbootldrDisk(t, filesystem)
	writeText(t, filepath.Join(espBeside(dir), driverDirectory, "ext4_x64.efi"), string(driver))
	writeText(t, filepath.Join(dir, "vmlinuz-6.1"), string(talkerImage(t)))
	// What is there before the first Install is nobody's crash.
	if output, err := exec.Command("sync", "-f", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return &xbootldrMachine{firmwareMachine{t: t, dir: dir, store: newStore(t)}, disk}
}

// powerCut gives a copy of the disk as it is now, with a FAT filesystem of what is on the
// one that stands in for it.
func (m *xbootldrMachine) powerCut() string {
	m.t.Helper()
	image, esp := filepath.Join(m.t.TempDir(), "cut.img"), espBeside(m.dir)
	m.run("cp", "--sparse=always", m.disk.Image, image)
	fat := image + "@@1M"
	m.run("mformat", "-i", fat, "-F", "-T", "81920", "-h", "64", "-s", "32", "-H", "2048", "::")
	m.run("mcopy", "-i", fat, "-s", filepath.Join(esp, "EFI"), filepath.Join(esp, "loader"), "::")
	m.run("mmd", "-i", fat, "::EFI/BOOT")
	m.run("mcopy", "-i", fat, sdbootProgram, "::EFI/BOOT/BOOTX64.EFI")
	return image
}

// boot starts the machine with the variable that the plugin has set, and leaves what
// systemd-boot makes of it.
func (m *xbootldrMachine) boot(image string) string {
	m.t.Helper()
	seen, inFirmware := variables(standInVariables(m.dir)), varstore{m.t, m.store}
	data, err := os.ReadFile(seen.path(variableOneShot))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	inFirmware.set(variableOneShot, data)
	said := m.firmwareMachine.boot(image)
	m.must(seen.remove(variableOneShot))
	if data = inFirmware.get(variableOneShot); data != nil {
		m.must(seen.create(variableOneShot, data))
	}
	return said
}

// install installs an entry whose kernel tells its arguments.
func (m *xbootldrMachine) install(id string) {
	m.t.Helper()
	entry := testEntry(m.t, id)
	writeText(m.t, filepath.Join(entry.Root, "boot/vmlinuz-6.1"), string(talkerImage(m.t)))
	entry.Arguments = []string{"root=UUID=" + id, "odd=$x;{y}", "ro"}
	mustInstall(m.t, m.plugin, entry)
}

func TestXbootldrDecides(t *testing.T) {
	t.Parallel()
	xbootldrDecides(t, loopback.Ext4)
}

func xbootldrDecides(t *testing.T, filesystem loopback.Filesystem) {
	m := newXbootldrMachine(t, filesystem)
	m.plugin = openPlugin(t, m.dir)
	const (
		foreign = "root=UUID=2 ro"
		a       = `initrd=\tbupdate\a1\initrd root=UUID=a1 odd=$x;{y} ro` // systemd-boot adds the first
		b       = `initrd=\tbupdate\b2\initrd root=UUID=b2 odd=$x;{y} ro`
		triesB  = b + " panic=10"
	)
	x := m.plugin.loader.(*xbootldrLoader)
	trial := filepath.Join(m.dir, sdbootEntries, bls.OneShotName("b2"))
	arm := func() { m.must(m.plugin.Arm(t.Context(), "b2", 1)) }
	// remove takes a file away as the next Settle would have it.
	remove := func(path string) {
		m.must(os.Remove(path))
		m.must(m.plugin.volume.Settle())
	}
	playBoots(t, m, nil, []bootStep{
		{"a installed", func() { m.install("a1") }, []string{foreign}},
		{"a default", func() { m.must(m.plugin.SetDefault(t.Context(), "a1")) }, []string{a}},
		{"b installed", func() { m.install("b2") }, []string{a}},
		{"power cut before the variable", func() { m.must(x.writeTrial("b2", filepath.Base(trial), bls.RankLast)) }, []string{a}},
		{"b armed", arm, []string{triesB, a}},
		{"b armed and disarmed", func() { arm(); m.must(m.plugin.Disarm(t.Context())) }, []string{a}},
		{"the variable names nothing", func() { arm(); remove(trial) }, []string{a, a}},
		{"without loader.conf", func() {
			arm()
			m.must(os.Remove(filepath.Join(espBeside(m.dir), sdbootConfig)))
		}, []string{triesB, a}},
		{"b default", func() { arm(); m.must(m.plugin.SetDefault(t.Context(), "b2")) }, []string{b}},
		{"b without its kernel", func() { remove(filepath.Join(m.dir, "tbupdate/b2/vmlinuz")) }, []string{a}},
		{"without the driver", func() {
			m.must(os.Remove(filepath.Join(espBeside(m.dir), driverDirectory, "ext4_x64.efi")))
			m.must(os.Mkdir(filepath.Join(espBeside(m.dir), sdbootEntries), 0o755))
			writeText(t, filepath.Join(espBeside(m.dir), sdbootEntries, "rescue.conf"), "linux /EFI/rescue\noptions rescue\n")
			writeText(t, filepath.Join(espBeside(m.dir), "EFI/rescue"), string(talkerImage(t)))
		}, []string{"rescue"}},
	})
}
