// The /init of the lab's initramfs: loads the modules that it brings along, arms a
// watchdog for a trial boot, mounts the root that the kernel command line names, and
// starts its init. It is what a distribution's initramfs does, in seconds less.
//
// When it ends, the kernel panics, and "panic=" on the command line says what then.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
)

// Where the initramfs has its modules, and the lists of them in the order to load.
const (
	moduleDirectory = "/modules"
	moduleList      = "/modules.list"
	watchdogList    = "/watchdog.list"
)

// rootTimeout is how long is waited for the root's device. virtio disks are there when
// their driver is.
const rootTimeout = 3 * time.Second

func main() {
	if err := boot(); err != nil {
		fmt.Printf("initramfs: %v\n", err)
		os.Exit(1)
	}
}

func boot() error {
	for _, m := range []struct{ directory, filesystem string }{{"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}} {
		if err := mount(m.filesystem, m.directory, m.filesystem, 0, ""); err != nil {
			return err
		}
	}
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	arguments := cmdline.Split(string(text))
	if err := loadModules(moduleList, arguments); err != nil {
		return err
	}
	if defect, err := os.ReadFile(protocol.DefectFile); err == nil && string(defect) == protocol.DefectPanic {
		fmt.Println(protocol.Defect, protocol.DefectPanic)
		return os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0) // does not return
	}
	trial := value(arguments, "tbupdate.trial")
	if trial == "1" {
		if err := armWatchdog(arguments); err != nil {
			return err
		}
	}
	fmt.Printf("%s trial=%s\n", protocol.Initramfs, trial)
	if err := mountRoot(arguments); err != nil {
		return err
	}
	return switchRoot(value(arguments, "init"))
}

// value gives the last value of an argument.
func value(arguments []string, wanted string) string {
	found := ""
	for _, argument := range arguments {
		if name, value, _ := cmdline.Cut(argument); name == wanted {
			found = value
		}
	}
	return found
}

func mount(device, directory, filesystem string, flags uintptr, data string) error {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(device, directory, filesystem, flags, data); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("cannot mount %s on %s: %w", device, directory, err)
	}
	return nil
}

// loadModules loads the modules of a list, with the parameters that the command line has for
// them (NAME.PARAMETER=VALUE).
func loadModules(list string, arguments []string) error {
	content, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	for _, file := range strings.Fields(string(content)) {
		module, err := os.Open(filepath.Join(moduleDirectory, file))
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(module.Fd()), parameters(strings.TrimSuffix(file, ".ko"), arguments), 0)
		module.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("cannot load %s: %w", file, err)
		}
	}
	return nil
}

func parameters(module string, arguments []string) string {
	var found []string
	for _, argument := range arguments {
		if parameter, ok := strings.CutPrefix(argument, strings.ReplaceAll(module, "-", "_")+"."); ok {
			found = append(found, parameter)
		}
	}
	return strings.Join(found, " ")
}

// armWatchdog starts the watchdog, and leaves it running: whoever is up later feeds it.
func armWatchdog(arguments []string) error {
	if err := loadModules(watchdogList, arguments); err != nil {
		return err
	}
	device, err := os.OpenFile("/dev/watchdog0", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer device.Close()
	// Closed without a 'V' before, it goes on (watchdog-api.rst of the kernel).
	if _, err := device.Write([]byte{0}); err != nil {
		return fmt.Errorf("cannot start the watchdog: %w", err)
	}
	return nil
}

const newRoot = "/root"

func mountRoot(arguments []string) error {
	specification := value(arguments, "root")
	device, err := findDevice(specification)
	if err != nil {
		return fmt.Errorf("cannot find root=%s: %w", specification, err)
	}
	flags := uintptr(0)
	for _, argument := range arguments {
		switch argument {
		case "ro":
			flags |= unix.MS_RDONLY
		case "rw":
			flags &^= unix.MS_RDONLY
		}
	}
	return mount(device, newRoot, "btrfs", flags, value(arguments, "rootflags"))
}

// findDevice gives the device of a path or of "UUID=…" as of a btrfs.
func findDevice(specification string) (string, error) {
	uuid, byUUID := strings.CutPrefix(specification, "UUID=")
	for deadline := time.Now().Add(rootTimeout); ; time.Sleep(20 * time.Millisecond) {
		if !byUUID {
			if _, err := os.Stat(specification); err == nil {
				return specification, nil
			}
		} else if device := deviceOf(uuid); device != "" {
			return device, nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("no such device after %v", rootTimeout)
		}
	}
}

// Where the superblock of btrfs has what is looked for (btrfs-dev-docs, on-disk format).
const (
	superblock  = 0x10000
	uuidOffset  = 0x20
	magicOffset = 0x40
	magic       = "_BHRfS_M"
)

func deviceOf(uuid string) string {
	devices, err := filepath.Glob("/sys/class/block/vd*")
	if err != nil {
		return ""
	}
	for _, device := range devices {
		path := "/dev/" + filepath.Base(device)
		if found, err := readUUID(path); err == nil && found == uuid {
			return path
		}
	}
	return ""
}

func readUUID(path string) (string, error) {
	device, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer device.Close()
	block := make([]byte, magicOffset+len(magic))
	if _, err := device.ReadAt(block, superblock); err != nil {
		return "", err
	}
	if !bytes.Equal(block[magicOffset:], []byte(magic)) {
		return "", errors.New("no btrfs")
	}
	u := block[uuidOffset : uuidOffset+16]
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]), nil
}

// switchRoot makes the new root the root, and this process its init.
func switchRoot(init string) error {
	if init == "" {
		init = "/sbin/init"
	}
	for _, directory := range []string{"/dev", "/proc", "/sys"} {
		if err := unix.Mount(directory, newRoot+directory, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("cannot move %s: %w", directory, err)
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("cannot move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return fmt.Errorf("cannot start %s: %w", init, unix.Exec(init, []string{init}, []string{"HOME=/", "TERM=linux"}))
}
