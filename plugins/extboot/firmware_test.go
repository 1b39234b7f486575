package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// These tests ask systemd-boot itself: UEFI firmware in QEMU starts it from a FAT
// image of what the plugin wrote. Every kernel there is a program that tells its
// arguments and turns the machine off, so a start takes a few seconds.

const (
	sdbootProgram = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
	firmwareCode  = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	firmwareStore = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// talker is the machine code of the program in place of kernels. It writes its load
// options to the port of QEMU's debug console, and turns the machine off:
//
//	rax = SystemTable.BootServices, rbx = SystemTable.RuntimeServices
//	BootServices.HandleProtocol(ImageHandle, LoadedImageProtocol, &image)
//	for each of image.LoadOptionsSize/2 units of image.LoadOptions: out 0xe9, unit
//	out 0xe9, '\n'
//	RuntimeServices.ResetSystem(EfiResetShutdown, 0, 0, 0)
//
// The last 16 bytes are the GUID of the protocol (UEFI specification, 9.1).
const talker = "4883ec38" + "488b4260" + "488b5a58" + "488d153e000000" + "4c8d442428" + "ff9098000000" +
	"488b742428" + "8b4e30" + "488b7638" + "d1e9" + "66bae900" + "85c9" + "7407" + "66ad" + "ee" + "ffc9" + "ebf5" +
	"b00a" + "ee" + "b902000000" + "31d2" + "4531c0" + "4531c9" + "ff5368" + "f4" + "ebfd" +
	"a1311b5b6295d2118e3f00a0c969723b"

// talkerImage gives the program as firmware loads it: a PE32+ image with one section.
func talkerImage(t testing.TB) []byte {
	t.Helper()
	code, err := hex.DecodeString(talker)
	mustDo(t, err)
	const headers, section = 0x200, 0x1000
	image := make([]byte, headers+0x200)
	put16 := func(at int, v uint16) { binary.LittleEndian.PutUint16(image[at:], v) }
	put32 := func(at int, v uint32) { binary.LittleEndian.PutUint32(image[at:], v) }
	copy(image, "MZ")
	put32(0x3c, 0x40) // where the next header is
	copy(image[0x40:], "PE\x00\x00")
	put16(0x44, 0x8664) // x86-64
	put16(0x46, 1)      // sections
	put16(0x54, 0xf0)   // size of the optional header
	put16(0x56, 0x22)   // executable, any address
	put16(0x58, 0x20b)  // PE32+
	put32(0x5c, 0x200)  // size of the code
	put32(0x68, section)
	put32(0x6c, section)
	put32(0x78, section) // alignment in memory
	put32(0x7c, 0x200)   // and in the file
	put32(0x90, section+0x1000)
	put32(0x94, headers)
	put16(0x9c, 10) // EFI application
	put32(0xc4, 16) // data directories, all empty
	copy(image[0x148:], ".text")
	put32(0x150, uint32(len(code)))
	put32(0x154, section)
	put32(0x158, 0x200)
	put32(0x15c, headers)
	put32(0x16c, 0x60000020) // code, executable, readable
	copy(image[headers:], code)
	return image
}

// firmwareMachine is a machine with systemd-boot. The plugin works on a directory that
// stands for the EFI system partition; each start is from a FAT image of that.
type firmwareMachine struct {
	t      *testing.T
	dir    string
	plugin *testPlugin
	store  string // the firmware's variables
}

func newFirmwareMachine(t *testing.T) *firmwareMachine {
	t.Helper()
	_, dir := platform{loopback.Ext4, loaderSdboot}.newDevice(t)
	return &firmwareMachine{t: t, dir: dir, store: newStore(t)}
}

// newStore gives the variables of firmware that was never started.
func newStore(t *testing.T) string {
	t.Helper()
	for path, pack := range map[string]string{sdbootProgram: "systemd-boot-efi", firmwareCode: "ovmf", firmwareStore: "ovmf"} {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("this test needs %s: apt-get install %s", path, pack)
		}
	}
	store := filepath.Join(t.TempDir(), "variables")
	writeText(t, store, string(readBytes(t, firmwareStore)))
	return store
}

func (m *firmwareMachine) run(name string, arguments ...string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, name, arguments...)
	command.Env = append(os.Environ(), "LC_ALL=C", "MTOOLS_SKIP_CHECK=1")
	output, err := command.CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, output)
	}
	return string(output)
}

// powerCut gives a FAT image of what is in the directory now.
func (m *firmwareMachine) powerCut() string {
	m.t.Helper()
	image, kernel := filepath.Join(m.t.TempDir(), "esp.img"), filepath.Join(m.t.TempDir(), "talker.efi")
	writeText(m.t, kernel, string(talkerImage(m.t)))
	m.must(loopback.CreateImage(image, 40<<20))
	m.run("mkfs.vfat", "-F", "32", image)
	m.run("mmd", "-i", image, "::EFI", "::EFI/BOOT")
	m.run("mcopy", "-i", image, sdbootProgram, "::EFI/BOOT/BOOTX64.EFI")
	m.run("mcopy", "-i", image, "-s", filepath.Join(m.dir, "loader"), "::")
	m.run("mcopy", "-i", image, kernel, "::vmlinuz-6.1")
	if !exists(filepath.Join(m.dir, "tbupdate")) {
		return image
	}
	m.run("mcopy", "-i", image, "-s", filepath.Join(m.dir, "tbupdate"), "::")
	kernels, err := filepath.Glob(filepath.Join(m.dir, "tbupdate/*/vmlinuz"))
	m.must(err)
	for _, path := range kernels {
		relative, err := filepath.Rel(m.dir, path)
		m.must(err)
		m.run("mcopy", "-i", image, "-o", kernel, "::"+relative)
	}
	return image
}

func (m *firmwareMachine) must(err error) {
	m.t.Helper()
	mustDo(m.t, err)
}

// boot starts the machine from an image, and gives the arguments of the kernel that
// systemd-boot started. What it renames is renamed in the image.
func (m *firmwareMachine) boot(image string) string {
	m.t.Helper()
	said := filepath.Join(m.t.TempDir(), "said")
	m.run("nice", "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-m", "128", "-nodefaults", "-display", "none", "-no-reboot", "-net", "none",
		"-drive", "if=pflash,format=raw,readonly=on,file="+firmwareCode, "-drive", "if=pflash,format=raw,file="+m.store,
		"-drive", "if=none,id=disk,format=raw,file="+image, "-device", "ide-hd,drive=disk",
		"-debugcon", "file:"+said, "-global", "isa-debugcon.iobase=0xe9")
	return strings.TrimSpace(strings.ReplaceAll(string(readBytes(m.t, said)), "\x00", ""))
}

// takeBack brings loader/entries of an image back into the directory, as it is found
// by the system that was started.
func (m *firmwareMachine) takeBack(image string) {
	m.t.Helper()
	entries := filepath.Join(m.dir, sdbootEntries)
	m.must(os.RemoveAll(entries))
	m.run("mcopy", "-i", image, "-s", "::"+sdbootEntries, filepath.Dir(entries))
}

func (m *firmwareMachine) install(id string) {
	m.t.Helper()
	entry := testEntry(m.t, id)
	entry.Arguments = []string{"root=UUID=" + id, "odd=$x;{y}", "ro"}
	mustInstall(m.t, m.plugin, entry)
}

func TestSdbootDecides(t *testing.T) {
	t.Parallel()
	m := newFirmwareMachine(t)
	m.plugin = openPlugin(t, m.dir)
	const (
		foreign = "root=UUID=2 ro"
		a       = `initrd=\tbupdate\a1\initrd root=UUID=a1 odd=$x;{y} ro` // systemd-boot adds the first
		b       = `initrd=\tbupdate\b2\initrd root=UUID=b2 odd=$x;{y} ro`
		triesB  = b + " panic=10"
	)
	playBoots(t, m, m.takeBack, []bootStep{
		{"a installed", func() { m.install("a1") }, []string{foreign}},
		{"a default", func() { m.must(m.plugin.SetDefault(t.Context(), "a1")) }, []string{a}},
		{"b installed", func() { m.install("b2") }, []string{a}},
		{"b armed for two", func() { m.must(m.plugin.Arm(t.Context(), "b2", 2)) }, []string{triesB, triesB, a}},
		{"armed again", func() { m.must(m.plugin.Arm(t.Context(), "b2", 1)) }, []string{triesB}},
		{"b default", func() { m.must(m.plugin.SetDefault(t.Context(), "b2")) }, []string{b}},
		{"b without its kernel", func() { m.must(os.Remove(filepath.Join(m.dir, "tbupdate/b2/vmlinuz"))) }, []string{a}},
	})
}

// An entry of a distribution that comes later, whatever its name and key, does not
// come before ours.
func TestSdbootWithEntriesOfOthers(t *testing.T) {
	t.Parallel()
	m := newFirmwareMachine(t)
	m.plugin = openPlugin(t, m.dir)
	m.install("a1")
	m.must(m.plugin.SetDefault(t.Context(), "a1"))
	writeText(t, filepath.Join(m.dir, sdbootEntries, "zzz.conf"), "title x\nsort-key 0\nversion 999\nlinux /vmlinuz-6.1\noptions root=UUID=2 ro\n")
	state, err := m.plugin.State(t.Context())
	m.must(err)
	if state.Default != "a1" {
		t.Errorf("state %+v", state)
	}
	if got := m.boot(m.powerCut()); !strings.Contains(got, "root=UUID=a1") {
		t.Errorf("boots %q", got)
	}
	// Without loader.conf it is the first one of all, and the plugin says so too.
	m.must(os.Remove(filepath.Join(m.dir, sdbootConfig)))
	if state, err = m.plugin.State(t.Context()); err != nil || state.Default != "" || state.Foreign != "zzz.conf" {
		t.Errorf("state %+v %v", state, err)
	}
	if got := m.boot(m.powerCut()); got != "root=UUID=2 ro" {
		t.Errorf("boots %q", got)
	}
	wantFinding(t, m.plugin, sdk.SeverityBlocking, "an entry of others")
}
