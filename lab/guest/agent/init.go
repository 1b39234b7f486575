package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
)

// path is where programs are found.
const path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"

// beInit is process 1: it starts the system, buries orphans, and ends the system when it
// is asked to, by the signals that busybox's reboot and poweroff send.
func beInit() error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGTERM, unix.SIGUSR2, unix.SIGCHLD)
	switch defect() {
	case protocol.DefectHang:
		say(protocol.Defect, protocol.DefectHang)
		select {}
	case protocol.DefectLockup:
		say(protocol.Defect, protocol.DefectLockup)
		say(protocol.Trouble, "cannot lock the kernel up: %v", lockUp())
	}
	if err := mountAll(); err != nil {
		say(protocol.Trouble, "%v", err)
	}
	command := exec.Command("/proc/self/exe", "system")
	command.Env = []string{path, "HOME=/root", "TERM=dumb"}
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	if err := command.Start(); err != nil {
		return err
	}
	for received := range signals {
		switch received {
		case unix.SIGCHLD:
			bury()
		case unix.SIGTERM:
			end(unix.LINUX_REBOOT_CMD_RESTART)
		case unix.SIGUSR2:
			end(unix.LINUX_REBOOT_CMD_POWER_OFF)
		}
	}
	return nil
}

// defect says what is wrong with this release, "" for nothing.
func defect() string {
	content, err := os.ReadFile(protocol.DefectFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

// bury takes the exit status of every child that has ended.
func bury() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if pid <= 0 || err != nil {
			return
		}
	}
}

// end stops all processes, unmounts, and leaves the rest to the kernel.
func end(how int) {
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		_ = unix.Kill(-1, s) // ESRCH: nobody is left
		for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); errors.Is(err, unix.ECHILD) {
				break
			}
		}
	}
	unix.Sync()
	for _, m := range mountsBehind() {
		_ = unix.Unmount(m, 0)
	}
	_ = unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	if err := unix.Reboot(how); err != nil {
		say(protocol.Trouble, "cannot reboot: %v", err)
	}
}

// filesystems are what every system has. /dev, /proc and /sys come from the initramfs.
var filesystems = []struct{ directory, filesystem, options string }{
	{"/dev/pts", "devpts", ""},
	{"/run", "tmpfs", "mode=755"},
	{"/tmp", "tmpfs", ""},
	{"/sys/fs/pstore", "pstore", ""},
}

func mountAll() error {
	for _, f := range filesystems {
		if err := os.MkdirAll(f.directory, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(f.filesystem, f.directory, f.filesystem, unix.MS_NOSUID, f.options); err != nil {
			return fmt.Errorf("cannot mount %s: %w", f.directory, err)
		}
	}
	return nil
}

// mountsBehind gives what is mounted besides the root, last one first.
func mountsBehind() []string {
	table, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return nil
	}
	var found []string
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[1] != "/" && strings.HasPrefix(fields[0], "/dev/") {
			found = append([]string{fields[1]}, found...)
		}
	}
	return found
}
