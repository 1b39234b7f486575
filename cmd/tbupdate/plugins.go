package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/trebuchet-update/tbupdate/core/config"
	"github.com/trebuchet-update/tbupdate/core/pluginhost"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// pluginRow is one plugin as "plugins list" shows it.
type pluginRow struct {
	Kind    sdk.Kind `json:"kind"`
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Summary string   `json:"summary"`
	Path    string   `json:"path"`
	Problem string   `json:"problem"`
}

// listPlugins starts every plugin that can be found and shows what it says of
// itself.
func (p *program) listPlugins(ctx context.Context) error {
	settings, err := p.pluginSettings()
	if err != nil {
		return err
	}
	rows := []pluginRow{}
	directories := pluginDirectories(settings)
	for _, found := range pluginhost.List(directories) {
		row := pluginRow{Kind: found.Kind, Name: found.Name, Path: found.Path}
		problem := found.Problem
		if problem == nil {
			var d sdk.Description
			d, problem = p.describePlugin(ctx, pluginhost.Spec{Kind: found.Kind, Name: found.Name, Program: found.Path, Log: p.pluginLog()})
			row.Version, row.Summary = d.Version, d.Summary
		}
		if problem != nil {
			row.Problem = problem.Error()
		}
		rows = append(rows, row)
	}
	if p.flags.json {
		return p.printJSON(map[string]any{"plugins": rows, "directories": directories})
	}
	if len(rows) == 0 {
		p.say("There are no plugins in %s.", strings.Join(directories, ", "))
		return nil
	}
	return p.table(func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "KIND\tNAME\tVERSION\tWHAT IT IS\tPROGRAM\tPROBLEM")
		for _, r := range rows {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Kind, r.Name, r.Version, r.Summary, r.Path, r.Problem)
		}
	})
}

// pluginSettings reads the configuration for its plugin directories alone.
func (p *program) pluginSettings() (*config.Config, error) {
	path := p.flags.config
	if path == "" {
		path = config.DefaultPath
	}
	return config.Load(path, p.flags.config != "")
}

// describePlugin starts a plugin, asks what it is, and stops it.
func (p *program) describePlugin(ctx context.Context, spec pluginhost.Spec) (sdk.Description, error) {
	run, err := pluginhost.RunDirectory(runDirectory, spec.Kind, spec.Name)
	if err != nil {
		return sdk.Description{}, err
	}
	spec.RunDirectory = run
	process, err := pluginhost.Start(ctx, spec)
	if err != nil {
		return sdk.Description{}, err
	}
	description, err := process.Describe(ctx)
	return description, errors.Join(err, process.Stop(context.WithoutCancel(ctx)))
}

// pluginFile gives kind and name of a plugin's program.
var pluginFile = regexp.MustCompile(`^tbupdate-(fs|boot)-(.+)$`)

// checkPlugin starts a program and shows what it says of itself: the first thing
// that a vendor who writes a plugin wants to see work.
func (p *program) checkPlugin(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	match := pluginFile.FindStringSubmatch(filepath.Base(path))
	if match == nil {
		return usageError{fmt.Errorf("cannot check %s: a plugin program is named tbupdate-fs-NAME or tbupdate-boot-NAME", path)}
	}
	d, err := p.describePlugin(ctx, pluginhost.Spec{Kind: sdk.Kind(match[1]), Name: match[2], Program: path, Log: p.pluginLog()})
	if err != nil {
		return err
	}
	return p.printDescription(path, d)
}

func (p *program) printDescription(path string, d sdk.Description) error {
	if p.flags.json {
		keys := []map[string]any{}
		for _, k := range d.Keys {
			keys = append(keys, map[string]any{"name": k.Name, "type": k.Type, "required": k.Required, "default": k.Default, "allowed": k.Allowed, "help": k.Help})
		}
		return p.printJSON(map[string]any{"path": path, "kind": d.Kind, "name": d.Name, "version": d.Version, "summary": d.Summary, "capabilities": d.Capabilities, "keys": keys})
	}
	p.say("%s speaks the contract of a %s plugin.", path, d.Kind)
	p.say("Name          %s %s", d.Name, d.Version)
	p.say("What it is    %s", d.Summary)
	for i, capability := range d.Capabilities {
		heading := ""
		if i == 0 {
			heading = "Capabilities"
		}
		p.say("%-13s %s", heading, capability)
	}
	if len(d.Keys) == 0 {
		return nil
	}
	p.say("")
	return p.table(func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "KEY OF [%s.config]\tTYPE\tDEFAULT\tWHAT IT IS\n", d.Kind)
		for _, k := range d.Keys {
			standard := k.Default
			if k.Required {
				standard = "(required)"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.Name, k.Type, standard, k.Help)
		}
	})
}
