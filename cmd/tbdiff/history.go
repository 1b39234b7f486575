package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/delta/history"
	"github.com/trebuchet-update/tbupdate/core/pluginhost"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// Places on this machine.
const (
	runDirectory = "/run/tbupdate" // that of tbupdate: a plugin has one, whoever runs it
	commandLine  = "/proc/cmdline"
)

// volume is the filesystem whose snapshots are compared, if one was named.
type volume struct {
	plugin      string
	settings    map[string]string
	directories []string
	indexes     string
}

func (v *volume) flags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&v.plugin, "fs", "", "ask the filesystem `PLUGIN` what changed between the snapshots ORIGIN and TARGET")
	flags.StringToStringVar(&v.settings, "fs-config", nil, "`KEY=VALUE` of the plugin, such as device=/dev/sdb1 (default: the volume that / is on)")
	flags.StringArrayVar(&v.directories, "plugins", nil, "`DIR` of plugins (default: those of the installation)")
	flags.StringVar(&v.indexes, "indexes", "", "`DIR` for what is known of snapshots (default: tbdiff in the user's cache directory)")
}

// open starts the plugin on its volume, hands it to use, and stops it.
func (v *volume) open(ctx context.Context, use func(sdk.FS) error) (err error) {
	booted, err := os.ReadFile(commandLine)
	if err != nil {
		return err
	}
	run, err := pluginhost.RunDirectory(runDirectory, sdk.KindFS, v.plugin)
	if err != nil {
		return err
	}
	directories := v.directories
	if directories == nil {
		directories = pluginhost.StandardDirectories()
	}
	process, err := pluginhost.Start(ctx, pluginhost.Spec{Kind: sdk.KindFS, Name: v.plugin, Directories: directories, RunDirectory: run})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, process.Stop(context.WithoutCancel(ctx))) }()
	about, err := process.Describe(ctx)
	if err != nil {
		return err
	}
	if problems := sdk.CheckSettings(about.Keys, v.settings); len(problems) > 0 {
		return usage("--fs-config of the plugin %s: %s", v.plugin, problems[0])
	}
	setup := sdk.Setup{Settings: v.settings, CommandLine: strings.TrimSpace(string(booted)), Live: true, RunDirectory: run}
	if err := process.Configure(ctx, setup); err != nil {
		return fmt.Errorf("cannot open what the fs plugin works on: %w", err)
	}
	return use(process.FS())
}

// store gives the directory of indexes.
func (v *volume) store() (history.Store, error) {
	if v.indexes != "" {
		return history.Store(v.indexes), nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", usage("say with --indexes where to keep what is known of snapshots: %w", err)
	}
	return history.Store(filepath.Join(cache, "tbdiff")), nil
}

// read hands the snapshots of those names, in the order of their history where they have one,
// to use, and lets go of the volume then.
func (v *volume) read(ctx context.Context, s streams, names []string, use func([]history.Snapshot) error) error {
	store, err := v.store()
	if err != nil {
		return err
	}
	return v.open(ctx, func(fs sdk.FS) error {
		return store.Read(ctx, fs, names, func(what string) { fmt.Fprintln(s.err, what) }, use)
	})
}
