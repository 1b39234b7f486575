package image

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
	"github.com/trebuchet-update/tbupdate/lab/qemu"
)

// guestTimeout is for one boot, or one command, of a machine whose processor is
// emulated on a busy host.
const guestTimeout = 2 * time.Minute

// initialiseInGuest takes the installed system into the layout as its owner would:
// booted, and from within. It is for machines whose boot loader's programs run on
// nothing but their own processor, or whose filesystems this host's kernel lacks.
func (d *Disk) initialiseInGuest(ctx context.Context) (err error) {
	p := d.spec.Platform
	board, err := p.Board(d.Work)
	if err != nil {
		return err
	}
	machine := qemu.New(qemu.Config{
		Program: p.Program, Arguments: board, Memory: p.Memory, Directory: d.Work,
		Disks: []qemu.Disk{{Path: d.Image, Format: "raw"}},
	})
	defer machine.CutPower()
	if err := machine.PowerOn(); err != nil {
		return err
	}
	const volume = "/run/volume"
	boots := [][]string{
		{"tbupdate init", "sync", "reboot"},
		// Booted from the layout: what was installed has served.
		{
			"mkdir " + volume, "mount -t btrfs -o subvolid=5 /dev/vda3 " + volume,
			"btrfs -q subvolume delete --commit-after " + filepath.Join(volume, Installed), "umount " + volume, "poweroff",
		},
	}
	position := 0
	for _, commands := range boots {
		if position, err = runInGuest(ctx, machine, position, commands); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, guestTimeout)
	defer cancel()
	return machine.WaitOff(ctx)
}

var upLine = regexp.MustCompile("^" + protocol.Up + " ")

// runInGuest waits for the next guest that is up, from position of the console on, runs
// commands in it, and gives the position behind that. The last command may end the guest
// before it answers.
func runInGuest(ctx context.Context, machine *qemu.Machine, position int, commands []string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, guestTimeout)
	defer cancel()
	_, position, err := machine.Console.Wait(ctx, position, upLine)
	if err != nil {
		return position, err
	}
	if err := machine.WaitUp(ctx); err != nil {
		return position, err
	}
	last := len(commands) - 1
	for _, command := range commands[:last] {
		answer, err := machine.Run(ctx, command)
		if err != nil {
			return position, err
		}
		if answer.Exit != 0 {
			return position, fmt.Errorf("%q ended with %d in the guest: %s%s; the console's end:\n%s",
				command, answer.Exit, answer.Stdout, answer.Stderr, machine.Console.Last(20))
		}
	}
	_, err = machine.Run(ctx, commands[last])
	if errors.Is(err, qemu.ErrReset) || errors.Is(err, qemu.ErrOff) {
		err = nil
	}
	return position, err
}
