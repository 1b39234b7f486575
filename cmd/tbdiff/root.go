package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

const about = `tbdiff makes, applies and explains the streams that turn one directory tree into
another.

Exit status: 0 done; 1 failed, or compare found differences; 2 wrong usage;
3 the stream was refused (damaged, unsafe, or not for this tree); 4 no room.`

// execute runs the command that args name and gives the exit status.
func execute(ctx context.Context, s streams, args []string) int {
	root := &cobra.Command{
		Use:           "tbdiff",
		Short:         "Make, apply and explain tbdiff streams",
		Long:          about,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q; see tbdiff --help", args[0])
			}
			return usage("say what to do; see tbdiff --help")
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; see %s --help", err, cmd.CommandPath())
	})
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.AddCommand(createCommand(s), applyCommand(s), inspectCommand(s), digestCommand(s), compareCommand(s),
		bundleCommand(s), keysCommand(s))
	root.SetArgs(args)
	return report(s, root.ExecuteContext(ctx))
}

// report tells the user about an error and gives the exit status.
func report(s streams, err error) int {
	if err == nil {
		return 0
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{err: err, code: exitUsage} // only cobra makes errors of its own
	}
	if text := f.Error(); text != "" {
		fmt.Fprintln(s.err, "tbdiff: "+text)
	}
	return f.code
}

// exactly demands one argument for each of the names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return usage("%s needs %s, and got %d arguments; see %s --help",
			cmd.Name(), strings.Join(names, " and "), len(args), cmd.CommandPath())
	}
}
