// The lab: virtual machines that really boot, for a try by hand.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/lab/cache"
	"github.com/trebuchet-update/tbupdate/lab/image"
	"github.com/trebuchet-update/tbupdate/lab/machine"
	"github.com/trebuchet-update/tbupdate/lab/uboot"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func main() {
	loopback.Isolate()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

const usage = `usage: go run ./lab COMMAND
  list                      stories, with the platforms that they run on
  run STORY PLATFORM        play a story, with the machine's console
  boot PLATFORM [SHELL…]    boot, run each shell command in the guest, power off
  crash [FLAG…]             cut the power at every instant of what the updater does; -h for the flags
  firmware ENVIRONMENT      build a U-Boot that counts, and print where it and the
                            variables that it has by itself are; it keeps its environment
                            in "flash", in a "fat" file, or in two ("redundant")`

func run(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprintln(flags.Output(), usage) }
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	top, err := moduleTop()
	if err != nil {
		return err
	}
	switch {
	case flags.Arg(0) == "list" && flags.NArg() == 1:
		return list()
	case flags.Arg(0) == "run" && flags.NArg() == 3:
		return play(ctx, machine.NewWorkshop(top), flags.Arg(1), flags.Arg(2))
	case flags.Arg(0) == "boot" && flags.NArg() >= 2:
		return boot(ctx, machine.NewWorkshop(top), flags.Arg(1), flags.Args()[2:])
	case flags.Arg(0) == "crash":
		return cut(ctx, top, flags.Args()[1:])
	case flags.Arg(0) == "firmware" && flags.NArg() == 2:
		built, err := uboot.Build(ctx, cache.Store{Directory: filepath.Join(top, "build/cache/lab")}, uboot.Environment(flags.Arg(1)))
		if err == nil {
			fmt.Println(built.Firmware)
			fmt.Println(built.Variables)
		}
		return err
	}
	return errors.New(usage)
}

// moduleTop finds the folder of go.mod, from here upwards.
func moduleTop() (string, error) {
	directory, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; directory != "/"; directory = filepath.Dir(directory) {
		if _, err := os.Stat(filepath.Join(directory, "go.mod")); err == nil {
			return directory, nil
		}
	}
	return "", errors.New("this is not run within the module: there is no go.mod")
}

// boot shows the console of a machine while it boots, runs commands and powers off.
func boot(ctx context.Context, w *machine.Workshop, name string, commands []string) error {
	platform, err := image.Find(name)
	if err != nil {
		return err
	}
	m, err := w.New(ctx, platform, machine.Options{})
	if err != nil {
		return err
	}
	defer m.Close()
	m.Console.Echo(os.Stdout)
	if err := m.PowerOn(); err != nil {
		return err
	}
	if _, _, err := m.AwaitUp(ctx, 0); err != nil {
		return err
	}
	for _, command := range commands {
		answer, err := m.Run(ctx, command)
		if err != nil {
			return err
		}
		fmt.Printf("\n$ %s\n%s%s(exit %d)\n", command, answer.Stdout, answer.Stderr, answer.Exit)
	}
	return m.PowerOff(ctx)
}
