package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/delta"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

func inspectCommand(s streams) *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "inspect FILE [--json]",
		Short: "Show what the stream FILE would do",
		Long: `Show what the stream FILE would do, entry by entry, and in sum, without touching
anything. "-" is standard input. The stream is read to its end: at a damage the output
ends too, with status 3. Leaving a directory sets its modification time; that is not
listed.`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var p printer = &table{w: bufio.NewWriter(s.out)}
			if asJSON {
				p = &object{w: bufio.NewWriter(s.out)}
			}
			if err := inspect(cmd.Context(), s, args[0], p); err != nil {
				return fail(fmt.Errorf("cannot inspect %q: %w", args[0], sentence(err)), "")
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

// printer writes down what a stream would do, piece by piece: a stream may be longer
// than memory.
type printer interface {
	change(delta.Change) error
	// finish is called when the whole stream was read.
	finish(delta.Totals) error
	// flush is called at the end in any case.
	flush() error
}

func inspect(ctx context.Context, s streams, name string, p printer) error {
	stream, err := openStream(ctx, s, name)
	if err != nil {
		return err
	}
	defer stream.Close()
	totals, err := delta.Inspect(ctx, tbdiff.NewReader(stream), p.change)
	if err == nil {
		err = p.finish(totals)
	}
	if flushed := p.flush(); err == nil && flushed != nil {
		err = fmt.Errorf("cannot print the result: %w", flushed)
	}
	return err
}
