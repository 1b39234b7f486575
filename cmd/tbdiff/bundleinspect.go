package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/bundle"
)

func bundleInspectCommand(s streams) *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "inspect FILE [--json]",
		Short: "Show what a bundle is",
		Long: `Show the manifest of the bundle FILE and whose signatures it has. Nothing is verified: that is
for tbdiff bundle verify.`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := inspectBundle(cmd.Context(), s, args[0], asJSON)
			if err != nil {
				return fail(fmt.Errorf("cannot inspect %q: %w", args[0], sentence(err)), "")
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

func inspectBundle(ctx context.Context, s streams, name string, asJSON bool) error {
	file, err := openStream(ctx, s, name)
	if err != nil {
		return err
	}
	defer file.Close()
	r, keyIDs, err := bundle.NewUnverifiedReader(file)
	if err != nil {
		return err
	}
	if asJSON {
		encoder := json.NewEncoder(s.out)
		return encoder.Encode(struct {
			*bundle.Manifest
			Signatures []string `json:"signatures"` // ids of keys
		}{r.Manifest, append([]string{}, keyIDs...)})
	}
	return printManifest(s.out, r.Manifest, keyIDs)
}

func printManifest(out io.Writer, m *bundle.Manifest, keyIDs []string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, arguments ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", arguments...) }
	row("product", "%s", plainPath(m.Product))
	if len(m.Hardware) > 0 {
		row("hardware", "%s", plainPath(strings.Join(m.Hardware, " ")))
	}
	row("version", "%s", plainPath(m.Version))
	if m.MinimumUpdater != "" {
		row("minimum updater", "%s", plainPath(m.MinimumUpdater))
	}
	row("tree", "%s", m.Tree)
	row("tree size", "%d bytes", m.TreeSize)
	if m.Kernel != "" {
		row("kernel", "%s, %d bytes", plainPath(m.Kernel), m.BootSize)
	}
	for _, key := range slices.Sorted(maps.Keys(m.Attributes)) {
		row(plainPath(key), "%s", plainPath(m.Attributes[key]))
	}
	for _, p := range m.Payloads {
		if p.From == nil {
			row("payload", "%d bytes, from nothing", p.Size)
			continue
		}
		row("payload", "%d bytes, from %s %s", p.Size, plainPath(p.FromVersion), p.From)
	}
	for _, id := range keyIDs {
		row("signature", "of the key %s (not verified)", plainPath(id))
	}
	if len(keyIDs) == 0 {
		row("signature", "none")
	}
	for line := range strings.Lines(m.Notes) {
		row("notes", "%s", plainPath(strings.TrimRight(line, "\n")))
	}
	return w.Flush()
}
