package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/tree"
)

func compareCommand(s streams) *cobra.Command {
	var options tree.Options
	command := &cobra.Command{
		Use:   "compare [--exact] A B",
		Short: "List the differences of two trees",
		Long: `List the differences of the trees A and B, one a line: path, what differs, and the
values in A and in B. Compared is everything that a stream can express.

Exit status: 0 there are none; 1 there are some; 2 wrong usage, or the trees could not
be compared.`,
		Args: exactly("A", "B"),
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := tree.Compare(cmd.Context(), args[0], args[1], options)
			if err != nil {
				// As diff(1) does: 1 is an answer, so trouble has to be another.
				return &failure{err: fmt.Errorf("cannot compare %q with %q: %w", args[0], args[1], sentence(err)), code: exitUsage}
			}
			if err := printDifferences(s, found); err != nil {
				return &failure{err: err, code: exitUsage}
			}
			if len(found) > 0 {
				return &failure{code: exitFailed}
			}
			return nil
		},
	}
	command.Flags().BoolVar(&options.Exact, "exact", false,
		"compare also nanoseconds, hard links and the metadata of A and B themselves")
	return command
}

func printDifferences(s streams, found []tree.Difference) error {
	w := bufio.NewWriter(s.out)
	for _, d := range found {
		fmt.Fprintln(w, d) // an error stays in w until Flush
	}
	return w.Flush()
}
