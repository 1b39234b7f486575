// Live is the part of the demonstration that really boots: the disk of the machine
// in a virtual machine, updated from within.
//
// usage: live DISK STICK
//
// DISK is written to. STICK is the disk that the technician brings, with 1.2.tbu and
// 1.3.tbu on it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/lab/image"
	"github.com/trebuchet-update/tbupdate/lab/qemu"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: live DISK STICK")
		os.Exit(2)
	}
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "\ncannot go on with the demonstration: %v\n", err)
		os.Exit(1)
	}
}

// limit is for the whole story, on a machine that has much else to do.
const limit = 15 * time.Minute

func run(ctx context.Context, disk, stick string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	board, err := image.Find("grub")
	if err != nil {
		return err
	}
	directory, err := os.MkdirTemp("", "demo-live-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	machine := qemu.New(qemu.Config{
		// systemd starts much at a time: a second processor is worth it.
		Program: board.Program, Arguments: append(slices.Clone(board.Arguments), "-smp", "2"), Memory: 1024, Directory: directory,
		Disks: []qemu.Disk{{Path: disk, Format: "raw"}, {Path: stick, Format: "raw", ReadOnly: true}},
	})
	defer machine.CutPower()
	s := &stage{machine: machine, began: time.Now()}
	if err := s.tell(ctx); err != nil {
		return fmt.Errorf("%w; the console's end:\n%s", err, machine.Console.Last(25))
	}
	return nil
}
