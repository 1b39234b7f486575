package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/bundle"
	"github.com/trebuchet-update/tbupdate/core/delta"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

func inspectCommand(s streams) *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "inspect FILE [--json]",
		Short: "Show what the stream FILE would do",
		Long: `Show what the stream FILE would do, entry by entry, and in sum, without touching
anything. "-" is standard input. The stream is read to its end: at a damage the output
ends too, with status 3. Leaving a directory sets its modification time; that is not
listed. Of a stream of version 1 the sums are shown.`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := inspect(cmd.Context(), s, args[0], asJSON); err != nil {
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

func inspect(ctx context.Context, s streams, name string, asJSON bool) error {
	stream, err := openStream(ctx, s, name)
	if err != nil {
		return err
	}
	defer stream.Close()
	source := bufio.NewReader(stream)
	switch head, _ := source.Peek(len(v1.Magic)); string(head) {
	case v1.Magic:
		return inspectFrames(ctx, s, source, asJSON)
	case bundle.Magic:
		return errors.New("it is a bundle: see tbdiff bundle inspect")
	}
	var p printer = &table{w: bufio.NewWriter(s.out)}
	if asJSON {
		p = &object{w: bufio.NewWriter(s.out)}
	}
	totals, err := delta.Inspect(ctx, tbdiff.NewReader(source), p.change)
	if err == nil {
		err = p.finish(totals)
	}
	if flushed := p.flush(); err == nil && flushed != nil {
		err = fmt.Errorf("cannot print the result: %w", flushed)
	}
	return err
}
