package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

func applyCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "apply FILE DIR",
		Short: "Carry out the stream FILE in the tree DIR",
		Long: `Carry out the stream FILE in the tree DIR, which must be equal to the tree that the
stream was made from, and flush it to the disk. "-" is standard input.

Work on a copy or a snapshot: when something stops a stream half-way, DIR is neither
the one tree nor the other.`,
		Args: exactly("FILE", "DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return apply(cmd.Context(), s, args[0], args[1])
		},
	}
}

// apply carries out the stream in the file name in the tree dir.
func apply(ctx context.Context, s streams, name, dir string) error {
	doing := func(err error) error {
		return fmt.Errorf("cannot apply %q to %q: %w", name, dir, sentence(err))
	}
	stream, err := openStream(ctx, s, name)
	if err != nil {
		return fail(doing(err), untouched)
	}
	defer stream.Close()
	tree, err := rootfs.Open(dir)
	if err != nil {
		return fail(doing(err), untouched)
	}
	defer tree.Close()

	debug.SetMemoryLimit(rootfs.Memory)
	bar := newProgress(s.err, "applying", "commands")
	stats, err := tree.DeployStream(ctx, stream, rootfs.Options{
		Progress: func(s rootfs.Stats) { bar.report(s.Commands) },
	})
	bar.finish()
	if err != nil {
		return fail(doing(err), stateAfter(err, stats))
	}
	if err := tree.Sync(); err != nil {
		return fail(doing(err), "All was changed, but may not be on the disk.")
	}
	return nil
}

const untouched = "Nothing was changed."

// stateAfter says what a deployment that failed left.
func stateAfter(err error, stats rootfs.Stats) string {
	// IDENTIFY changes nothing.
	if stats.Commands > 1 {
		return fmt.Sprintf("The tree was changed by the first %d commands and is not usable.", stats.Commands)
	}
	var at *tbdiff.StreamError
	var frame *v1.FrameError
	if errors.As(err, &at) && (at.Number < 2 || refusesStream(err)) || errors.As(err, &frame) && frame.Number == 0 {
		return untouched
	}
	return "The first change may have been begun; the tree is not usable."
}

// openStream opens the file name, or standard input for "-".
func openStream(ctx context.Context, s streams, name string) (io.ReadCloser, error) {
	if name == "-" {
		return interruptible(ctx, s.in), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot open the stream: %w", err)
	}
	return f, nil
}

// interruptible reads from source until the context ends, also where source gives
// nothing for long, such as a stalled pipe. What waits in source then is given up
// only with the program.
func interruptible(ctx context.Context, source io.Reader) io.ReadCloser {
	reader, writer := io.Pipe()
	go func() {
		_, err := io.Copy(writer, source)
		writer.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { writer.CloseWithError(context.Cause(ctx)) })
	return reader
}
