// Package watchdog arms the device that resets a machine which nobody tends any
// more, and tends it (Documentation/watchdog/watchdog-api.rst).
package watchdog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/command"
)

// Errors of Open.
var (
	// ErrNone says that the machine has no watchdog, and none can be had.
	ErrNone = errors.New("there is no watchdog device")
	// ErrTaken says that somebody else tends the watchdog: the service manager.
	ErrTaken = errors.New("another process tends the watchdog")
)

// softwareDriver is the kernel's own watchdog, for machines without a device. It does
// not help when the kernel itself hangs with interrupts off.
const softwareDriver = "softdog"

// Device is an armed watchdog. It resets the machine when it is not fed within
// Timeout, also after the process that armed it has gone.
type Device struct {
	// Path is the device's file.
	Path string
	// Timeout is what the device has taken, in whole seconds.
	Timeout time.Duration

	file *os.File
	// lasting is true for one that cannot be stopped once it runs.
	lasting bool
}

// Open arms a watchdog. path is the device's file, or "" for the first one there is,
// with the kernel's own driver loaded where there is none. timeout is asked for; a
// device that takes another keeps its own. Errors: ErrNone, ErrTaken.
func Open(ctx context.Context, path string, timeout time.Duration) (*Device, error) {
	candidates := []string{path}
	if path == "" {
		candidates = Devices()
		if len(candidates) == 0 {
			candidates = load(ctx)
		}
	}
	err := ErrNone
	for _, candidate := range candidates {
		var device *Device
		if device, err = open(candidate, timeout); err == nil {
			return device, nil
		}
	}
	return nil, err
}

// Devices lists the files of watchdogs.
func Devices() []string {
	numbered, _ := filepath.Glob("/dev/watchdog[0-9]*")
	slices.Sort(numbered)
	if len(numbered) > 0 {
		return numbered
	}
	if _, err := os.Stat("/dev/watchdog"); err == nil {
		return []string{"/dev/watchdog"}
	}
	return nil
}

// Loading a driver makes its device a moment later.
const (
	loadAttempts = 20
	loadPause    = 100 * time.Millisecond
)

// load loads the kernel's own watchdog and gives its device, nil for none.
func load(ctx context.Context) []string {
	if _, err := command.Output(ctx, "modprobe", softwareDriver); err != nil {
		return nil
	}
	for range loadAttempts {
		if devices := Devices(); len(devices) > 0 {
			return devices
		}
		time.Sleep(loadPause)
	}
	return nil
}

// Loadable reports whether the kernel's own watchdog could be loaded.
func Loadable(ctx context.Context) bool {
	_, err := command.Output(ctx, "modprobe", "--dry-run", softwareDriver)
	return err == nil
}

// open arms one device. Opening it is what starts it.
func open(path string, timeout time.Duration) (*Device, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, ErrTaken
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return nil, fmt.Errorf("%w: %s", ErrNone, path)
	case err != nil:
		return nil, fmt.Errorf("cannot arm the watchdog: %w", err)
	}
	d := &Device{Path: path, file: file, lasting: lasting(path)}
	seconds := int((timeout + time.Second - 1) / time.Second)
	_ = unix.IoctlSetPointerInt(int(file.Fd()), unix.WDIOC_SETTIMEOUT, seconds) // one that cannot be set has its own
	if taken, err := unix.IoctlGetInt(int(file.Fd()), unix.WDIOC_GETTIMEOUT); err == nil && taken > 0 {
		seconds = taken
	}
	d.Timeout = time.Duration(seconds) * time.Second
	return d, nil
}

// lasting reports whether the driver keeps the device running once it was started
// (nowayout, Documentation/ABI/testing/sysfs-class-watchdog).
func lasting(path string) bool {
	name := filepath.Base(path)
	if name == "watchdog" {
		name = "watchdog0"
	}
	content, err := os.ReadFile("/sys/class/watchdog/" + name + "/nowayout")
	return err == nil && strings.TrimSpace(string(content)) == "1"
}

// Lasting reports whether the watchdog cannot be stopped: then it wants to be fed as
// long as the machine runs.
func (d *Device) Lasting() bool { return d.lasting }

// Feed tells the watchdog that all is well. Any byte but 'V' does.
func (d *Device) Feed() error {
	_, err := d.file.Write([]byte{'.'})
	return err
}

// Stop stops the watchdog: a 'V' before the file is closed says that this is meant.
func (d *Device) Stop() error {
	_, err := d.file.Write([]byte{'V'})
	return errors.Join(err, d.file.Close())
}
