package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/delta"
	"github.com/trebuchet-update/tbupdate/core/delta/frames"
	"github.com/trebuchet-update/tbupdate/core/delta/history"
)

func createCommand(s streams) *cobra.Command {
	var o creation
	command := &cobra.Command{
		Use:   "create [--format v1|v0] [--level LEVEL] [--fs PLUGIN] -o FILE ORIGIN TARGET",
		Short: "Write the stream that turns the tree ORIGIN into the tree TARGET",
		Long: `Write the stream that turns the directory tree ORIGIN into the tree TARGET.

The same trees give the same stream, whatever filesystems they are on. FILE gets its
name when it is whole and replaces one of that name; "-" is standard output.

Version 1 is exact (nanoseconds, hard links, holes, attributes of everything), small and verified.
Sockets are left out of it, with a note. Version 0 is what the classic tools read. What it
cannot express (sockets, files of 4 GiB and more) is refused by name, and nothing is written
then.

With --fs, ORIGIN and TARGET are the names of read-only snapshots on a volume, and what
changed between them is asked of the filesystem: only that is read, and the rest is known from
the last time. The stream is the same as without.`,
		Args: exactly("ORIGIN", "TARGET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.out == "" {
				return usage("say with -o where the stream goes; - is standard output")
			}
			o.origin, o.target = args[0], args[1]
			return o.run(cmd.Context(), s)
		},
	}
	command.Flags().StringVar(&o.format, "format", formatV1, "format of the stream: v1, or v0 for the classic tools")
	command.Flags().StringVar(&o.level, "level", levelDefault, "for v1, how much work to put into making it small, here and on the machine: fast, default or small")
	o.volume.flags(command)
	command.Flags().StringVarP(&o.out, "output", "o", "", "file that the stream goes to; - is standard output")
	return command
}

// Values of flags.
const (
	formatV0     = "v0"
	formatV1     = "v1"
	levelFast    = "fast"
	levelDefault = "default"
	levelSmall   = "small"
)

// creation is a stream that is to be made.
type creation struct {
	format, level       string
	out, origin, target string
	volume              volume
}

func (c *creation) run(ctx context.Context, s streams) error {
	switch c.format {
	case formatV0:
		if c.level != levelDefault {
			return usage("--level is for --format v1")
		}
		if c.volume.plugin != "" {
			return usage("--fs is for --format v1")
		}
		return create(ctx, s, c.out, c.origin, c.target)
	case formatV1:
		return c.createFrames(ctx, s)
	}
	return usage("cannot write format %q: it is v0 or v1", c.format)
}

// createFrames writes a stream of version 1.
func (c *creation) createFrames(ctx context.Context, s streams) error {
	level, ok := levels[c.level]
	if !ok {
		return usage("cannot make a stream at the level %q: it is fast, default or small", c.level)
	}
	if err := level.Check(); err != nil {
		return usage("cannot make a stream at the level %q: %w", c.level, err)
	}
	if c.volume.plugin != "" {
		err := c.volume.read(ctx, s, []string{c.origin, c.target}, func(of []history.Snapshot) error {
			return c.writeFrames(ctx, s, of[0], of[1])
		})
		return finish(err, c.doing, unwritten)
	}
	return c.writeFrames(ctx, s, history.Snapshot{Path: c.origin}, history.Snapshot{Path: c.target})
}

// writeFrames writes the stream from one tree to another, of which something may be known.
func (c *creation) writeFrames(ctx context.Context, s streams, was, is history.Snapshot) error {
	if err := c.checkPlace(was.Path, is.Path); err != nil {
		return err
	}
	o, err := openOutput(c.out, s.out)
	if err != nil {
		return fail(c.doing(err), unwritten)
	}
	debug.SetMemoryLimit(frames.Memory)
	stats, err := frames.Create(ctx, o, was.Path, is.Path, frames.Options{
		Level: levels[c.level], Origin: was.Index, Target: is.Index, Spool: c.spool(),
	})
	if err := c.end(o, err); err != nil {
		return err
	}
	noteSockets(s, stats.Sockets)
	return nil
}

// levels are the values of --level.
var levels = map[string]frames.Level{levelFast: frames.Fast, levelDefault: frames.Default, levelSmall: frames.Small}

// noteSockets says what was left out.
func noteSockets(s streams, paths []string) {
	for _, path := range paths {
		fmt.Fprintf(s.err, "The socket %q is left out.\n", path)
	}
}

// spool gives the directory for what is put aside meanwhile: that of the output, which has
// room for it.
func (c *creation) spool() string {
	if isDirect(c.out) {
		return ""
	}
	return filepath.Dir(c.out)
}

const unwritten = "Nothing was written."

// create writes the stream of version 0 from origin to target into the file out.
func create(ctx context.Context, s streams, out, origin, target string) error {
	c := &creation{out: out, origin: origin, target: target}
	if err := c.checkPlace(origin, target); err != nil {
		return err
	}
	if isDirect(out) {
		// What a pipe has got cannot be taken back: so look first.
		if err := delta.Check(ctx, origin, target); err != nil {
			return fail(c.doing(err), unwritten)
		}
	}
	o, err := openOutput(out, s.out)
	if err != nil {
		return fail(c.doing(err), unwritten)
	}
	bar := newProgress(s.err, "comparing", "entries")
	_, err = delta.Create(ctx, o, origin, target, delta.Options{
		Progress: func(s delta.Stats) { bar.report(s.Entries) },
	})
	bar.finish()
	return c.end(o, err)
}

func (c *creation) doing(err error) error {
	return fmt.Errorf("cannot create a stream from %q to %q: %w", c.origin, c.target, sentence(err))
}

// checkPlace makes sure that the stream does not become a part of what it is made from.
func (c *creation) checkPlace(trees ...string) error {
	for _, dir := range trees {
		if c.out != "-" && isInside(c.out, dir) {
			return usage("cannot write the stream to %q: it is inside the tree %q that it is made from", c.out, dir)
		}
	}
	return nil
}

// end gives a stream that was written its name, or takes it away.
func (c *creation) end(o *output, err error) error {
	if err == nil {
		err = o.publish()
	} else {
		err = errors.Join(err, o.discard())
	}
	switch {
	case err == nil:
		return nil
	case o.name == "":
		return fail(c.doing(err), "What was written ends before the stream does; no deployer takes it.")
	}
	return fail(c.doing(err), unwritten)
}
