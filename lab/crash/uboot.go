package crash

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/trebuchet-update/tbupdate/lab/command"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// uboot is U-Boot itself, on a board that QEMU emulates. Kernel, initial RAM disk and arguments are those in the
// board's memory when the kernel runs.
//
// It counts on FAT, which the kernel of a host may not know: on the machine's disk the filesystem of its state
// is ext2, which has no journal either. When the machine is switched on U-Boot gets FAT with the same files there,
// and what it writes into them is written into those.
type uboot struct {
	extlinux bool // the installed system is in an extlinux.conf, and not in a boot.scr
}

func (u uboot) name() string {
	if u.extlinux {
		return "uboot-extlinux"
	}
	return "uboot"
}

func (uboot) counts() bool { return true }

// ubootScript boots the installed system.
const ubootScript = `setenv bootargs "root=LABEL=root rootflags=subvol=` + installed + ` ro quiet"
load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} /%s
load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} /%s
booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdtcontroladdr}
`

func (u uboot) install(ctx context.Context, d *disk, top string, s *system) error {
	kernel, initrd, err := putKernel(top, s)
	if err != nil {
		return err
	}
	if u.extlinux {
		err = putExtlinuxConfig(top, kernel, initrd)
	} else {
		err = putBootScript(ctx, top, fmt.Sprintf(ubootScript, kernel, initrd))
	}
	return errors.Join(err, loopback.Format(ctx, d.state, loopback.Ext2), makeBoardTree(ctx, boardTree(d)))
}

func putBootScript(ctx context.Context, top, text string) error {
	source := filepath.Join(top, "boot.cmd")
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		return err
	}
	return run(ctx, "mkimage", "-A", "arm64", "-O", "linux", "-T", "script", "-C", "none", "-d", source, filepath.Join(top, "boot.scr"))
}

// config has the plugin write what U-Boot boots an entry by itself, without flash-kernel.
func (uboot) config(d *disk) string {
	return fmt.Sprintf("[boot]\nplugin = \"flashkernel\"\n[boot.config]\ndevice = %q\nstate = %q\nstate_partition = \"%d\"\nmethod = \"extlinux\"\n",
		d.boot, d.mounts[d.state], statePartition)
}

// prepare mounts the state.
func (uboot) prepare(ctx context.Context, d *disk) error { return d.mount(ctx, d.state) }

func (u uboot) start(ctx context.Context, d *disk) (started, error) {
	if err := d.unmount(); err != nil {
		return started{}, err
	}
	work, err := os.MkdirTemp(inMemory, "lab-crash-uboot-")
	if err != nil {
		return started{}, err
	}
	defer os.RemoveAll(work)
	image := d.loop.Image + ".uboot"
	if err := copyDisk(ctx, d.loop.Image, image); err != nil {
		return started{}, err
	}
	defer os.Remove(image)
	state, err := ubootState(ctx, d, work, image)
	if err != nil {
		return started{}, err
	}
	s, err := startBoard(ctx, image, boardTree(d), work)
	return s, errors.Join(err, state.bringBack(ctx))
}

// ubootTrials are the files in which it counts.
var ubootTrials = []string{"tbtriala.env", "tbtrialb.env"}

// ubootFiles are the files of the state, and FAT with a copy of them.
type ubootFiles struct {
	device, fat string
	work        string            // directory for copies of them
	content     map[string][]byte // of those that are there
}

// ubootState puts FAT with the files of the state into the image of a disk.
func ubootState(ctx context.Context, d *disk, work, image string) (ubootFiles, error) {
	f := ubootFiles{d.state, fmt.Sprintf("%s@@%d", image, stateStart), work, map[string][]byte{}}
	if err := run(ctx, "mformat", "-i", f.fat, "-T", strconv.Itoa(stateSize/sector), "::"); err != nil {
		return f, err
	}
	for _, name := range ubootTrials {
		content, err := onDevice(ctx, f.device, "/"+name)
		if err != nil { // there is none, or none that can be read
			continue
		}
		if err := os.WriteFile(f.copy(name), content, 0o600); err != nil {
			return f, err
		}
		if err := run(ctx, "mcopy", "-i", f.fat, f.copy(name), "::"); err != nil {
			return f, err
		}
		f.content[name] = content
	}
	return f, nil
}

func (f ubootFiles) copy(name string) string { return filepath.Join(f.work, name) }

// bringBack writes what U-Boot wrote into the files of the state: it writes over a sector that is there, or
// makes a file anew.
func (f ubootFiles) bringBack(ctx context.Context) error {
	present, err := command.Run(ctx, nil, "mdir", "-b", "-i", f.fat, "::")
	if err != nil {
		return err
	}
	for _, name := range ubootTrials {
		if !strings.Contains(present, name) {
			continue
		}
		if err := run(ctx, "mcopy", "-o", "-i", f.fat, "::"+name, f.copy(name)); err != nil {
			return err
		}
		content, err := os.ReadFile(f.copy(name))
		if err != nil {
			return err
		}
		switch old := f.content[name]; {
		case bytes.Equal(content, old):
		case len(content) == len(old) && len(content) <= sector:
			err = writeBlock(ctx, f.device, "/"+name, 0, content)
		default:
			err = f.replace(ctx, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replace puts the copy of a file in its place.
func (f ubootFiles) replace(ctx context.Context, name string) error {
	for _, request := range []string{"rm " + name, "write " + f.copy(name) + " " + name} {
		if err := run(ctx, "debugfs", "-w", "-R", request, f.device); err != nil {
			return err
		}
	}
	return nil
}

// inMemory is a directory whose files are on no disk.
const inMemory = "/dev/shm"

const (
	boardProgram  = "qemu-system-aarch64"
	boardFirmware = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"
	boardMemory   = 256 << 20
)

// board is how QEMU is told what the board is. machine are further words for its machine.
func board(machine string) []string {
	return []string{"-M", "virt" + machine, "-cpu", "cortex-a57", "-m", strconv.Itoa(boardMemory >> 20), "-accel", "tcg", "-net", "none",
		"-display", "none", "-monitor", "none", "-bios", boardFirmware}
}

// boardTree is the file with the board's device tree, beside the machine's disks.
func boardTree(d *disk) string { return filepath.Join(filepath.Dir(d.loop.Image), "board.dtb") }

// makeBoardTree makes a device tree that tells U-Boot not to wait for somebody at its prompt.
func makeBoardTree(ctx context.Context, path string) error {
	dump := path + ".full"
	for _, program := range [][]string{
		append([]string{boardProgram}, board(",dumpdtb="+dump)...),
		{"dtc", "-q", "-I", "dtb", "-O", "dtb", "-o", path, dump}, // without the mebibyte of nothing at its end
		{"fdtput", "-c", path, "/config"},
		{"fdtput", "-t", "i", path, "/config", "bootdelay", "0"},
	} {
		if err := run(ctx, program[0], program[1:]...); err != nil {
			return err
		}
	}
	return os.Remove(dump)
}

// startBoard starts the board with a disk, up to the first kernel or to where U-Boot would start again.
func startBoard(ctx context.Context, image, tree, work string) (started, error) {
	ctx, cancel := context.WithTimeout(ctx, longestStart)
	defer cancel()
	ram := filepath.Join(work, "memory")
	emulator := exec.CommandContext(ctx, boardProgram, append(board(",memory-backend=memory"),
		"-object", fmt.Sprintf("memory-backend-file,id=memory,share=on,size=%d,mem-path=%s", boardMemory, ram),
		"-serial", "stdio", "-no-reboot", "-dtb", tree,
		"-drive", "if=none,id=disk,format=raw,cache=unsafe,file="+image, "-device", "virtio-blk-device,drive=disk")...)
	emulator.WaitDelay = time.Second
	console, err := emulator.CombinedOutput()
	if err != nil {
		return started{}, fmt.Errorf("U-Boot starts no kernel and does not start again: %w: %q", err, console)
	}
	m, err := openMemory(ram)
	if err != nil {
		return started{}, err
	}
	defer m.close()
	kernel, blob, err := m.ran()
	if err != nil {
		return started{}, fmt.Errorf("U-Boot starts nothing: %w: %q", err, console)
	}
	initrd, arguments, err := chosen(ctx, m, blob, filepath.Join(work, "given.dtb"))
	return started{sha256.Sum256(kernel), sha256.Sum256(initrd), arguments}, err
}

// chosen gives what a device tree says of the initial RAM disk and the arguments (Linux:
// Documentation/devicetree/usage-model.rst). path is for a file.
func chosen(ctx context.Context, m memory, tree []byte, path string) (initrd []byte, arguments string, err error) {
	if err := os.WriteFile(path, tree, 0o600); err != nil {
		return nil, "", err
	}
	arguments, err1 := command.Run(ctx, nil, "fdtget", path, "/chosen", "bootargs")
	start, err2 := cells(ctx, path, "linux,initrd-start")
	end, err3 := cells(ctx, path, "linux,initrd-end")
	return m.at(start, end-start), strings.TrimSpace(arguments), cmp.Or(err1, err2, err3)
}

// cells gives a number of a device tree's node chosen, of one cell or two.
func cells(ctx context.Context, path, property string) (uint64, error) {
	text, err := command.Run(ctx, nil, "fdtget", "-t", "bx", path, "/chosen", property)
	if err != nil {
		return 0, err
	}
	b := make([]byte, 8) // what is missing at the beginning is 0
	digits := strings.Fields(text)
	for i, digit := range digits {
		one, err := strconv.ParseUint(digit, 16, 8)
		if at := len(b) - len(digits) + i; err == nil && at >= 0 {
			b[at] = byte(one)
		}
	}
	return binary.BigEndian.Uint64(b), nil
}
