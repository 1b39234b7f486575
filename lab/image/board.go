package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/trebuchet-update/tbupdate/lab/cache"
	"github.com/trebuchet-update/tbupdate/lab/command"
	"github.com/trebuchet-update/tbupdate/lab/uboot"
)

// countingUBoot is QEMU's ARM board with a U-Boot that counts by itself, in an
// environment that it keeps in a file of the first partition. The kernels that a
// distribution has for this board lack the driver of its flash, where U-Boot could keep
// it as well.
func countingUBoot(name string, settings ...string) Platform {
	p := armBoard(name, settings...)
	p.Complete = func(ctx context.Context, store cache.Store) (Platform, error) {
		built, err := uboot.Build(ctx, store, uboot.FAT)
		if err != nil {
			return Platform{}, err
		}
		complete := p
		complete.Arguments = slices.Concat(p.Arguments, []string{"-bios", built.Firmware}) // the last one counts
		variables, err := os.ReadFile(built.Variables)
		if err != nil {
			return Platform{}, err
		}
		complete.Files = map[string]string{
			"etc/fw_env.config":      fmt.Sprintf("%s/%s 0x0 %#x\n", stateDirectory, environmentFile, uboot.EnvironmentSize),
			"etc/u-boot-initial-env": string(variables),
		}
		complete.Install = func(ctx context.Context, d *Disk, arguments string) error {
			if err := installUBoot(ctx, d, arguments); err != nil {
				return err
			}
			return installEnvironment(ctx, d, built.Variables)
		}
		return complete, nil
	}
	return p
}

// environmentFile is the name that U-Boot was built with.
const environmentFile = "uboot.env"

// installEnvironment does what the maker of a board does once: gives U-Boot an
// environment.
func installEnvironment(ctx context.Context, d *Disk, variables string) error {
	environment := filepath.Join(d.Work, environmentFile)
	if _, err := command.Run(ctx, nil, "mkenvimage", "-s", strconv.Itoa(uboot.EnvironmentSize), "-o", environment, variables); err != nil {
		return err
	}
	_, err := command.Run(ctx, nil, "mcopy", "-i", d.FAT(), environment, "::/"+environmentFile)
	return err
}
