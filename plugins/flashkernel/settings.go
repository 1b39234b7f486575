package main

import (
	"os"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/envimage"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/jail"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// Names of the settings, besides those of package bootdir.
const (
	keyState          = "state"
	keyStatePartition = "state_partition"
	keyMethod         = "method"
	keyMachine        = "machine"
	keyCounter        = "counter"
	keyEnvConfig      = "fw_env_config"
	keyRedundant      = "redundant_environment"
)

// Values of settings.
const (
	methodFlashKernel = "flash-kernel"
	methodExtlinux    = "extlinux"
	counterFile       = "file"
	counterBoard      = "board"
	defaultEnvConfig  = "/etc/fw_env.config"
)

func keys() []sdk.Key {
	return append(bootdir.Keys(),
		sdk.Key{Name: keyState, Type: sdk.KeyString, Help: "directory where the FAT filesystem is mounted on which U-Boot counts; default: the one that is mounted from the disk of the boot filesystem"},
		sdk.Key{Name: keyStatePartition, Type: sdk.KeyString, Help: "the same as U-Boot names it: a partition's number, or device and partition as in \"mmc 1:2\" where it is on another disk; default: found out"},
		sdk.Key{Name: keyMethod, Type: sdk.KeyString, Allowed: []string{methodFlashKernel, methodExtlinux}, Help: "what makes the files that U-Boot boots an entry by; default: flash-kernel where the running system has it, or else extlinux"},
		sdk.Key{Name: keyMachine, Type: sdk.KeyString, Help: "the machine's name in flash-kernel's database; default: as flash-kernel finds it"},
		sdk.Key{Name: keyCounter, Type: sdk.KeyString, Default: counterFile, Allowed: []string{counterFile, counterBoard}, Help: "who counts the starts of a trial: U-Boot's script, in files, or U-Boot itself, in its environment"},
		sdk.Key{Name: keyEnvConfig, Type: sdk.KeyString, Default: defaultEnvConfig, Help: "configuration of fw_setenv, for counter = board"},
		sdk.Key{Name: keyRedundant, Type: sdk.KeyBoolean, Default: "false", Help: "whether U-Boot was built to keep two copies of its environment"},
	)
}

// settings are Setup.Settings with defaults applied.
type settings struct {
	state          string // "" to find out
	statePartition string // "" to find out
	method         string
	machine        string // "" to find out
	board          bool   // U-Boot itself counts
	envConfig      string
	layout         envimage.Layout
	live           bool
}

func readSettings(setup sdk.Setup) (settings, error) {
	values := setup.Settings
	s := settings{
		state:          values[keyState],
		statePartition: values[keyStatePartition],
		method:         values[keyMethod],
		machine:        values[keyMachine],
		board:          values[keyCounter] == counterBoard,
		envConfig:      values[keyEnvConfig],
		layout:         envimage.Layout{Flags: values[keyRedundant] == "true"},
		live:           setup.Live,
	}
	if s.envConfig == "" {
		s.envConfig = defaultEnvConfig
	}
	if s.method != "" {
		return s, nil
	}
	if !setup.Live {
		return settings{}, sdk.Errorf(sdk.CodeInvalid, "configure", "flashkernel", "method is not set, and the running system is not the one to look at")
	}
	s.method = methodExtlinux
	if _, err := os.Stat("/" + jail.Program); err == nil {
		s.method = methodFlashKernel
	}
	return s, nil
}
