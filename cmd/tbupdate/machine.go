package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/trebuchet-update/tbupdate/core/bundle"
	"github.com/trebuchet-update/tbupdate/core/config"
	"github.com/trebuchet-update/tbupdate/core/evidence"
	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/pluginhost"
	"github.com/trebuchet-update/tbupdate/core/update"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/process"
)

// Places on a machine.
const (
	bootedCommandLine = "/proc/cmdline"
	bootIDFile        = "/proc/sys/kernel/random/boot_id"
	runDirectory      = "/run/tbupdate"
)

// withMachine starts the plugins, hands the machine to act, and stops the plugins
// again, whatever happens.
func (p *program) withMachine(ctx context.Context, act func(context.Context, *update.Machine, *config.Config) error) (err error) {
	settings, err := p.loadConfig()
	if err != nil {
		return err
	}
	machine, err := p.describeMachine(settings)
	if err != nil {
		return err
	}
	defer machine.Release()
	filesystem, err := p.startPlugin(ctx, settings, sdk.KindFS, machine)
	if err != nil {
		return err
	}
	defer func() { err = p.stopPlugin(ctx, filesystem.process, err) }()
	loader, err := p.startPlugin(ctx, settings, sdk.KindBoot, machine)
	if err != nil {
		return err
	}
	defer func() { err = p.stopPlugin(ctx, loader.process, err) }()
	machine.FS, machine.FSPlugin = filesystem.process.FS(), filesystem.description
	machine.Boot, machine.BootPlugin = loader.process.Boot(), loader.description
	if machine.Workers, err = workers(filesystem, loader); err != nil {
		return err
	}
	if p.wrap != nil {
		machine.FS, machine.Boot = p.wrap(machine.FS, machine.Boot)
	}
	err = act(ctx, machine, settings)
	if !filesystem.process.Changing() && !loader.process.Changing() {
		machine.Release() // its file would keep the volume from being unmounted
	}
	return err
}

// workers describes the plugins for the journal.
func workers(plugins ...*plugin) (w generation.Workers, err error) {
	if w.BootID, err = currentBootID(); err != nil {
		return w, err
	}
	for _, each := range plugins {
		mark, err := process.Of(each.process.PID())
		if errors.Is(err, fs.ErrNotExist) {
			continue // it died, and its first call will tell so
		}
		if err != nil {
			return w, err
		}
		w.Processes = append(w.Processes, mark)
	}
	return w, nil
}

// loadConfig reads the configuration and applies the flags that override it.
func (p *program) loadConfig() (*config.Config, error) {
	settings, err := p.readConfig()
	if err != nil {
		return nil, err
	}
	// The settings of one plugin mean nothing to another.
	if p.flags.fs != "" && p.flags.fs != settings.FS.Plugin {
		settings.FS = config.Backend{Plugin: p.flags.fs}
	}
	if p.flags.boot != "" && p.flags.boot != settings.Boot.Plugin {
		settings.Boot.Backend = config.Backend{Plugin: p.flags.boot}
	}
	for _, missing := range []struct{ name, flag, plugin string }{
		{"filesystem", "fs", settings.FS.Plugin}, {"boot loader", "boot", settings.Boot.Plugin},
	} {
		if missing.plugin == "" {
			return nil, usageError{fmt.Errorf("no %s plugin is chosen: say which in [%s] of %s, or with --%s NAME", missing.name, missing.flag, p.configPath(), missing.flag)}
		}
	}
	return settings, nil
}

// readConfig reads the configuration; a machine without the file has the defaults.
func (p *program) readConfig() (*config.Config, error) {
	return config.Load(p.configPath(), p.flags.config != "")
}

func (p *program) configPath() string { return cmp.Or(p.flags.config, config.DefaultPath) }

// readCommandLine reads the kernel command line that says what was booted.
func (p *program) readCommandLine() (string, error) {
	content, err := os.ReadFile(cmp.Or(p.flags.commandLine, bootedCommandLine))
	if err != nil {
		return "", usageError{fmt.Errorf("cannot read the kernel command line: %w", err)}
	}
	return strings.TrimSpace(string(content)), nil
}

// bootID tells this boot from others; "" for disks that this machine did not boot from.
func (p *program) bootID() (string, error) {
	if p.flags.commandLine != "" {
		return "", nil
	}
	return currentBootID()
}

func currentBootID() (string, error) {
	id, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "", fmt.Errorf("cannot tell this boot from others: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// checkRoot is the health check that the root is the one that was asked for.
func (p *program) checkRoot(ctx context.Context, _ io.Writer) error {
	return p.withMachine(ctx, func(ctx context.Context, m *update.Machine, _ *config.Config) error { return m.CheckRoot(ctx) })
}

// describeMachine gathers what is known of the machine before any plugin runs.
func (p *program) describeMachine(settings *config.Config) (*update.Machine, error) {
	commandLine, err := p.readCommandLine()
	if err != nil {
		return nil, err
	}
	keys, err := bundle.ReadKeys(settings.Trust.Keys)
	if err != nil {
		return nil, usageError{err}
	}
	machine := &update.Machine{
		CommandLine: commandLine,
		System:      update.System(settings.System),
		Trust:       bundle.Trust{Keys: keys, Threshold: settings.Trust.Threshold, Now: p.now()},
		Updater:     releaseOf(version),
		Reporter:    p.newReporter(),
		Now:         p.now,
		Policy: update.Policy{
			Tries: settings.Update.Tries, Keep: settings.Update.Keep,
			Arguments: settings.Boot.Arguments, TrialArguments: settings.Boot.TrialArguments,
			Evidence: settings.Health.Evidence,
		},
	}
	if p.flags.commandLine == "" {
		if machine.BootID, err = p.bootID(); err != nil {
			return nil, err
		}
		machine.Inspect = func(ctx context.Context) []sdk.Finding { return inspect(ctx, settings, machine.BootID) }
		machine.Sources = update.Sources{KernelLog: "/dev/kmsg", Journal: true, Crashes: evidence.CrashDirectories}
	}
	return machine, nil
}

// releaseOf gives the version of a program that was built from a release, or from what follows
// one, and "" for another.
func releaseOf(version string) string {
	if version == "" || version[0] < '0' || version[0] > '9' {
		return ""
	}
	return version
}

// plugin is one that runs.
type plugin struct {
	process     *pluginhost.Process
	description sdk.Description
}

// stopPlugin ends the plugin, also after a signal: it has to be told to clear up.
// err is the command's; what was done is done, so a plugin that does not end well is
// told of and makes no failure of a success.
func (p *program) stopPlugin(ctx context.Context, process *pluginhost.Process, err error) error {
	stopped := process.Stop(context.WithoutCancel(ctx))
	var failure *pluginhost.Error
	switch {
	case stopped == nil:
		return err
	case err == nil:
		fmt.Fprintf(p.stderr, "tbupdate: it is done, but %v.\n", stopped)
		return nil
	case errors.As(stopped, &failure):
		return err // it says already what became of the plugin
	}
	return errors.Join(err, stopped)
}

// startPlugin starts the configured plugin of a kind and hands it its settings.
func (p *program) startPlugin(ctx context.Context, settings *config.Config, kind sdk.Kind, machine *update.Machine) (_ *plugin, err error) {
	chosen := settings.FS
	if kind == sdk.KindBoot {
		chosen = settings.Boot.Backend
	}
	run, err := pluginhost.RunDirectory(runDirectory, kind, chosen.Plugin)
	if err != nil {
		return nil, err
	}
	process, err := pluginhost.Start(ctx, pluginhost.Spec{
		Kind: kind, Name: chosen.Plugin, SHA256: chosen.SHA256, Directories: pluginDirectories(settings),
		RunDirectory: run, Log: p.pluginLog(), Limits: p.limits, Grease: pluginhost.NewGrease(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	})
	if err != nil {
		return nil, err
	}
	started := &plugin{process: process}
	defer func() {
		if err != nil {
			err = p.stopPlugin(ctx, process, err)
		}
	}()
	if started.description, err = process.Describe(ctx); err != nil {
		return nil, err
	}
	values, err := settings.Settings(string(kind), started.description.Keys)
	if err != nil {
		return nil, err
	}
	err = process.Configure(ctx, sdk.Setup{
		Settings: values, CommandLine: machine.CommandLine, Live: machine.Live(), RunDirectory: run,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open what the %s plugin works on: %w", chosen.Plugin, err)
	}
	// Only now it knows what it can do there.
	if started.description, err = process.Describe(ctx); err != nil {
		return nil, err
	}
	return started, nil
}

// pluginDirectories are the configured ones, else the standard ones.
func pluginDirectories(settings *config.Config) []string {
	if settings.Plugins.Dirs != nil {
		return settings.Plugins.Dirs
	}
	return pluginhost.StandardDirectories()
}

// pluginLog prints what plugins log only where it was asked for; errors come back
// with the plugin's last words anyhow.
func (p *program) pluginLog() io.Writer {
	if p.flags.verbose {
		return p.stderr
	}
	return nil
}
