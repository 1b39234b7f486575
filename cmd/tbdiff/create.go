package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/delta"
)

func createCommand(s streams) *cobra.Command {
	var format, out string
	command := &cobra.Command{
		Use:   "create [--format v0] -o FILE ORIGIN TARGET",
		Short: "Write the stream that turns the tree ORIGIN into the tree TARGET",
		Long: `Write the stream that turns the directory tree ORIGIN into the tree TARGET.

The same trees give the same stream, whatever filesystems they are on. FILE gets its
name when it is whole and replaces one of that name; "-" is standard output. What the
format cannot express (sockets, files of 4 GiB and more) is refused by name, and
nothing is written then.`,
		Args: exactly("ORIGIN", "TARGET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "v0" {
				return usage("cannot write format %q: this build writes v0", format)
			}
			if out == "" {
				return usage("say with -o where the stream goes; - is standard output")
			}
			return create(cmd.Context(), s, out, args[0], args[1])
		},
	}
	command.Flags().StringVar(&format, "format", "v0", "format of the stream: v0")
	command.Flags().StringVarP(&out, "output", "o", "", "file that the stream goes to; - is standard output")
	return command
}

const unwritten = "Nothing was written."

// create writes the stream from origin to target into the file out.
func create(ctx context.Context, s streams, out, origin, target string) error {
	doing := func(err error) error {
		return fmt.Errorf("cannot create a stream from %q to %q: %w", origin, target, sentence(err))
	}
	for _, dir := range []string{origin, target} {
		if out != "-" && isInside(out, dir) {
			return usage("cannot write the stream to %q: it is inside the tree %q that it is made from", out, dir)
		}
	}
	if isDirect(out) {
		// What a pipe has got cannot be taken back: so look first.
		if err := delta.Check(ctx, origin, target); err != nil {
			return fail(doing(err), unwritten)
		}
	}
	o, err := openOutput(out, s.out)
	if err != nil {
		return fail(doing(err), unwritten)
	}
	bar := newProgress(s.err, "comparing", "entries")
	_, err = delta.Create(ctx, o, origin, target, delta.Options{
		Progress: func(s delta.Stats) { bar.report(s.Entries) },
	})
	bar.finish()
	if err == nil {
		err = o.publish()
	} else {
		err = errors.Join(err, o.discard())
	}
	switch {
	case err == nil:
		return nil
	case o.name == "":
		return fail(doing(err), "What was written ends before the stream does; no deployer takes it.")
	}
	return fail(doing(err), unwritten)
}
