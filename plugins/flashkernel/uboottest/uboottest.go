// Package uboottest lets tests ask U-Boot itself: QEMU starts a real U-Boot on a disk
// image, which takes it some two seconds. The kernels that it boots are no Linux, but
// print what they are and what they were given, and turn the machine off.
package uboottest

import (
	"bytes"
	"cmp"
	"context"
	_ "embed" // for the kernel
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Where things are on a disk, in bytes: a FAT partition for the state, number 1, and
// the boot filesystem, number 2.
const (
	mebibyte    = 1 << 20
	stateOffset = 1 * mebibyte
	stateSize   = 4 * mebibyte
	bootOffset  = stateOffset + stateSize
)

// StatePartition is the number of the partition for the state.
const StatePartition = 1

// FDTAddress is where a test's script may load a device tree: the U-Boot that is used
// does not say so itself.
const FDTAddress = "0x43000000"

// firmware is Debian's U-Boot. FirmwareVariable names another one, of another version.
const (
	firmware         = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"
	FirmwareVariable = "TBUPDATE_TEST_UBOOT"
)

// machineArguments are the same for every start, and for the device tree.
func machineArguments() []string {
	return []string{"-M", "virt", "-cpu", "cortex-a57", "-m", "256", "-display", "none", "-net", "none", "-bios", cmp.Or(os.Getenv(FirmwareVariable), firmware)}
}

//go:embed testdata/kernel.bin
var kernel []byte

// Kernel makes a kernel that says this text when it runs.
func Kernel(text string) []byte { return append(bytes.Clone(kernel), text+"\x00"...) }

// Machine is a disk, and a U-Boot to start from it.
type Machine struct {
	t     testing.TB
	dir   string
	image string
	tree  string // device tree of the machine, without a delay before it boots
}

// New makes a machine. boot is an image of an ext filesystem, of whole mebibytes,
// which is copied. The FAT filesystem for the state is empty.
func New(t testing.TB, boot string) *Machine {
	t.Helper()
	m := &Machine{t: t, dir: t.TempDir()}
	m.image = filepath.Join(m.dir, "disk.img")
	info, err := os.Stat(boot)
	m.must(err)
	m.must(os.WriteFile(m.image, nil, 0o600))
	m.must(os.Truncate(m.image, bootOffset+info.Size()+mebibyte))
	m.run(strings.NewReader("label: gpt\n"+
		"start=1MiB, size=4MiB, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7\n"+
		"start=5MiB, size="+strconv.FormatInt(info.Size()/mebibyte, 10)+"MiB, type=linux, attrs=LegacyBIOSBootable\n"),
		"sfdisk", "-q", m.image)
	m.Format()
	m.SetBoot(boot)
	m.makeTree()
	return m
}

// SetBoot gives the disk another boot filesystem of the same size.
func (m *Machine) SetBoot(boot string) {
	m.t.Helper()
	m.run(nil, "dd", "if="+boot, "of="+m.image, "bs=1M", "seek="+strconv.Itoa(bootOffset/mebibyte), "conv=notrunc,sparse", "status=none")
}

// makeTree writes the machine's device tree, which tells U-Boot not to wait.
func (m *Machine) makeTree() {
	m.t.Helper()
	m.tree = filepath.Join(m.dir, "machine.dtb")
	m.must(os.WriteFile(m.tree, DeviceTree(m.t), 0o600))
	m.run(nil, "fdtput", "-c", m.tree, "/config")
	m.run(nil, "fdtput", "-t", "i", m.tree, "/config", "bootdelay", "0")
}

// DeviceTree gives a device tree of the machine.
func DeviceTree(t testing.TB) []byte {
	t.Helper()
	m := &Machine{t: t, dir: t.TempDir()}
	full, small := filepath.Join(m.dir, "full.dtb"), filepath.Join(m.dir, "small.dtb")
	dump := machineArguments()
	dump[1] = "virt,dumpdtb=" + full
	m.run(nil, "qemu-system-aarch64", dump...)
	m.run(nil, "dtc", "-q", "-I", "dtb", "-O", "dtb", "-o", small, full) // it ends with a mebibyte of nothing
	data, err := os.ReadFile(small)
	m.must(err)
	return data
}

// Format makes the filesystem for the state new.
func (m *Machine) Format() {
	m.t.Helper()
	m.run(nil, "mformat", "-i", m.stateImage(), "-T", strconv.Itoa(stateSize/512), "::")
}

// Unformat leaves no filesystem for the state.
func (m *Machine) Unformat() {
	m.t.Helper()
	file, err := os.OpenFile(m.image, os.O_WRONLY, 0)
	m.must(err)
	_, err = file.WriteAt(make([]byte, stateSize), stateOffset)
	m.must(errors.Join(err, file.Close()))
}

func (m *Machine) stateImage() string { return m.image + "@@" + strconv.Itoa(stateOffset) }

// WriteState writes a file of the filesystem for the state.
func (m *Machine) WriteState(name string, data []byte) {
	m.t.Helper()
	m.run(bytes.NewReader(data), "mcopy", "-o", "-i", m.stateImage(), "-", "::"+name)
}

// ReadState reads a file of the filesystem for the state.
func (m *Machine) ReadState(name string) []byte {
	m.t.Helper()
	return m.run(nil, "mtype", "-i", m.stateImage(), "::"+name)
}

// Clusters says where a file of the filesystem for the state lies, in mshowfat's
// words.
func (m *Machine) Clusters(name string) string {
	m.t.Helper()
	return string(m.run(nil, "mshowfat", "-i", m.stateImage(), "::"+name))
}

// Boot is what U-Boot did after one start.
type Boot struct {
	Console string // up to the kernel's text
	Kernel  string // the text of the kernel that ran, "" when U-Boot started again
	// What the kernel was given.
	CommandLine string
	InitrdSize  uint64
}

// Start starts the machine once, up to the first kernel or the next start.
func (m *Machine) Start(arguments ...string) Boot {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Minute)
	defer cancel()
	output, err := m.command(ctx, arguments).CombinedOutput()
	console := strings.ReplaceAll(string(output), "\r", "")
	if err != nil {
		m.t.Fatalf("this test needs the Debian packages qemu-system-arm and u-boot-qemu: %v\n%s", err, console)
	}
	return m.parse(console)
}

// CutPower starts the machine, and cuts its power as soon as the console shows a text.
func (m *Machine) CutPower(at string, arguments ...string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Minute)
	defer cancel()
	command := m.command(ctx, arguments)
	console, err := command.StdoutPipe()
	m.must(err)
	m.must(command.Start())
	var seen []byte
	for block := make([]byte, 4096); err == nil && !bytes.Contains(seen, []byte(at)); {
		var n int
		n, err = console.Read(block)
		seen = append(seen, block[:n]...)
	}
	m.must(command.Process.Kill())
	_ = command.Wait() // which says that it was killed
	if err != nil {
		m.t.Fatalf("the console ended without %q: %v\n%s", at, err, seen)
	}
}

// command starts the machine, as far as nobody says otherwise in the arguments.
func (m *Machine) command(ctx context.Context, arguments []string) *exec.Cmd {
	all := append([]string{"qemu-system-aarch64"}, machineArguments()...)
	all = append(all, "-accel", "tcg", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-dtb", m.tree,
		"-drive", "if=none,id=disk,format=raw,cache=unsafe,file="+m.image, "-device", "virtio-blk-device,drive=disk")
	command := exec.CommandContext(ctx, "nice", append(all, arguments...)...)
	command.WaitDelay = time.Second
	return command
}

// parse finds what the kernel printed.
func (m *Machine) parse(console string) Boot {
	m.t.Helper()
	boot := Boot{Console: console}
	before, rest, found := strings.Cut(console, "\nDTB ")
	text, _, ended := strings.Cut(rest, "\nEND")
	if !found || !ended {
		return boot
	}
	boot.Console = before + "\n"
	boot.Kernel = before[max(0, strings.LastIndex(before, "KERNEL ")):]
	blob, err := hex.DecodeString(text)
	m.must(err)
	path := filepath.Join(m.dir, "given.dtb")
	m.must(os.WriteFile(path, blob, 0o600))
	boot.CommandLine = strings.TrimSuffix(string(m.run(nil, "fdtget", "-d", "", path, "/chosen", "bootargs")), "\n")
	if properties := string(m.run(nil, "fdtget", "-p", path, "/chosen")); strings.Contains(properties, "linux,initrd-end") {
		boot.InitrdSize = m.number(path, "linux,initrd-end") - m.number(path, "linux,initrd-start")
	}
	return boot
}

func (m *Machine) number(path, property string) uint64 {
	m.t.Helper()
	var data []byte
	for _, digits := range strings.Fields(string(m.run(nil, "fdtget", "-t", "bx", path, "/chosen", property))) {
		b, err := strconv.ParseUint(digits, 16, 8)
		m.must(err)
		data = append(data, byte(b))
	}
	if len(data) == 4 {
		return uint64(binary.BigEndian.Uint32(data))
	}
	return binary.BigEndian.Uint64(data)
}

func (m *Machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *Machine) run(input interface{ Read([]byte) (int, error) }, name string, arguments ...string) []byte {
	m.t.Helper()
	command := exec.CommandContext(m.t.Context(), name, arguments...)
	if input != nil {
		command.Stdin = input
	}
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		m.t.Fatalf("this test needs the Debian packages device-tree-compiler, fdisk, mtools and qemu-system-arm: %s %q: %v\n%s", name, arguments, err, stderr.String())
	}
	return output
}

// Format makes an image of an ext4 filesystem with these files, by path, as boot
// loaders can read it.
func Format(t testing.TB, size int64, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	root, image := filepath.Join(dir, "root"), filepath.Join(dir, "boot.img")
	for name, data := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	output, err := exec.CommandContext(t.Context(), "mke2fs", "-q", "-t", "ext4", "-O", "^metadata_csum,^64bit", "-d", root, image, strconv.FormatInt(size/1024, 10)+"k").CombinedOutput()
	if err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, output)
	}
	return image
}
