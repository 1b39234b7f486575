package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/tree"
)

func digestCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "digest DIR",
		Short: "Print the digest of a tree",
		Long: `Print a digest of everything that a stream can express of the tree DIR. Trees with
the same digest are the same; it does not depend on the filesystem, on hard links, on
fractions of seconds or on DIR's own metadata. Sockets are left out.`,
		Args: exactly("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			digest, err := tree.Digest(cmd.Context(), args[0])
			if err != nil {
				return fail(fmt.Errorf("cannot digest %q: %w", args[0], sentence(err)), "")
			}
			_, err = fmt.Fprintln(s.out, digest)
			return failOutput(err)
		},
	}
}
