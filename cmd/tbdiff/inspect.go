package main

import (
	"context"
	"encoding/json"
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
anything. "-" is standard input. The stream is read to its end: one that is damaged is
refused with status 3.`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			doing := func(err error) error {
				return fail(fmt.Errorf("cannot inspect %q: %w", args[0], sentence(err)), "")
			}
			account, err := inspect(cmd.Context(), s, args[0])
			if err != nil {
				return doing(err)
			}
			if asJSON {
				return failOutput(json.NewEncoder(s.out).Encode(account.forMachines()))
			}
			return failOutput(account.print(s.out))
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

// account is what a stream would do.
type account struct {
	changes []delta.Change
	totals  delta.Totals
}

func inspect(ctx context.Context, s streams, name string) (*account, error) {
	stream, err := openStream(ctx, s, name)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	a := &account{}
	a.totals, err = delta.Inspect(ctx, tbdiff.NewReader(stream), func(c delta.Change) error {
		a.changes = append(a.changes, c)
		return nil
	})
	return a, err
}
