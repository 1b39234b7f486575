package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/config"
	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/source"
	"github.com/trebuchet-update/tbupdate/core/update"
	"github.com/trebuchet-update/tbupdate/sdk"
)

func (p *program) initCommand() *cobra.Command {
	var options update.InitOptions
	command := &cobra.Command{
		Use:   "init",
		Short: "Take an installed system into the layout; repeatable, never destroys",
		Args:  usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withMachine(c.Context(), func(ctx context.Context, m *update.Machine, _ *config.Config) error {
				done, err := m.Init(ctx, options)
				if err != nil {
					return err
				}
				return p.printInit(done)
			})
		},
	}
	command.Flags().StringVar(&options.Version, "version", "", "`VERSION` of the installed system (default: from its os-release)")
	command.Flags().StringVar(&options.From, "from", "", "`SUBVOLUME` that holds the installed system (default: what was booted)")
	command.Flags().StringSliceVar(&options.State, "state", nil, "`DIR,…` that move into subvolumes of their own, with their fstab lines; offline only")
	return command
}

// verifies reports whether a value of --verify asks to read everything.
func verifies(value string) (full bool, err error) {
	if value != config.VerifyRecorded && value != config.VerifyFull {
		return false, usageError{fmt.Errorf("--verify is %q; it is %s or %s", value, config.VerifyRecorded, config.VerifyFull)}
	}
	return value == config.VerifyFull, nil
}

func (p *program) applyCommand() *cobra.Command {
	var options update.ApplyOptions
	var noReboot bool
	var verify string
	command := &cobra.Command{
		Use:   "apply SOURCE",
		Short: "Install an update beside the running system and try it at the next boot",
		Long: `SOURCE is a file, - for standard input, or an http(s) address: a bundle, signed by keys that
this machine trusts ([trust] of the configuration). A bare tbdiff stream, which nobody has
signed, needs --allow-unsigned.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, arguments []string) (err error) {
			if options.VerifyFull, err = verifies(verify); err != nil {
				return err
			}
			if options.Repair && options.AllowUnsigned {
				return usageError{errors.New("--repair is for bundles: a bare stream, which --allow-unsigned accepts, has nothing to take instead")}
			}
			return p.withMachine(c.Context(), func(ctx context.Context, m *update.Machine, settings *config.Config) error {
				payload, err := source.Open(ctx, arguments[0], p.stdin)
				if err != nil {
					return &update.Error{Class: update.Failed, Err: err, State: "Nothing was changed."}
				}
				defer payload.Close()
				debug.SetMemoryLimit(rootfs.Memory)
				done, err := m.Apply(ctx, payload, options)
				if err != nil {
					return err
				}
				reboot := !options.DryRun && !noReboot && m.Live() && settings.Update.Reboot == config.RebootNow
				// The update is armed: that nobody reads of it keeps nothing from it.
				err = p.printApply(done, options.DryRun, reboot)
				if reboot {
					err = errors.Join(err, p.rebootArmed(ctx))
				}
				return err
			})
		},
	}
	command.Flags().BoolVar(&noReboot, "no-reboot", false, "leave the reboot to the operator")
	command.Flags().BoolVar(&options.DryRun, "dry-run", false, "check the machine and the whole payload, and change nothing")
	command.Flags().BoolVar(&options.AllowUnsigned, "allow-unsigned", false, "accept a bare tbdiff stream")
	command.Flags().BoolVar(&options.Force, "force", false, "install what is known to have failed on this machine")
	command.Flags().BoolVar(&options.AllowDowngrade, "allow-downgrade", false, "install a bundle that is older than what was confirmed")
	command.Flags().BoolVar(&options.Full, "full", false, "take all of the new tree from the bundle, and not the delta")
	command.Flags().BoolVar(&options.Repair, "repair", false, "where the current tree turns out to be changed or damaged, take all of the new one from the bundle")
	command.Flags().StringVar(&verify, "verify", config.VerifyRecorded, "`HOW` to know that the current tree is what a delta starts from: by what was recorded when it was sealed, where the filesystem proves that nothing was changed since, or full, by reading all of it")
	command.Flags().StringVar(&options.Version, "version", "", "`VERSION` that a bare stream leads to (default: from the new os-release)")
	command.Flags().StringVar(&options.Origin, "origin", "", "`DIGEST` that the current tree must have for a bare stream")
	command.Flags().StringVar(&options.Result, "result", "", "`DIGEST` that the new tree must have")
	return command
}

func (p *program) statusCommand() *cobra.Command {
	return p.simpleCommand("status", "Show what runs, what boots next, what is on trial, all generations and roles",
		func(ctx context.Context, m *update.Machine) error {
			status, err := m.Status(ctx)
			if err != nil {
				return err
			}
			return p.printStatus(status)
		})
}

func (p *program) rollbackCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "rollback [GENERATION]",
		Short: "Go back to previous (or to a retained generation) at the next boot",
		Args:  usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, arguments []string) error {
			return p.withMachine(c.Context(), func(ctx context.Context, m *update.Machine, _ *config.Config) error {
				target := generation.ID("")
				if len(arguments) == 1 {
					target = generation.ID(arguments[0])
				}
				done, err := m.Rollback(ctx, target)
				if err != nil {
					return err
				}
				if done.GivenUp != nil {
					p.settle(m) // the operator says when it reboots
				}
				return p.printRollback(done)
			})
		},
	}
	return command
}

func (p *program) recoverCommand() *cobra.Command {
	return p.simpleCommand("recover", "Run at boot: judge the boot, finish or undo what was in flight",
		func(ctx context.Context, m *update.Machine) error {
			if m.Live() {
				noteRecover(m.BootID)
			}
			done, err := m.Recover(ctx)
			if err != nil {
				return err
			}
			return p.printRecover(done)
		})
}

func (p *program) historyCommand() *cobra.Command {
	return p.simpleCommand("history", "Show what was tried when, with what result and why",
		func(ctx context.Context, m *update.Machine) error {
			events, err := m.History(ctx)
			if err != nil {
				return err
			}
			return p.printHistory(events)
		})
}

func (p *program) evidenceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "evidence [GENERATION [FILE]]",
		Short: "Show what was kept of a failed generation: the list of files, or one of them",
		Args:  usage(cobra.MaximumNArgs(2)),
		RunE: func(c *cobra.Command, arguments []string) error {
			return p.withMachine(c.Context(), func(ctx context.Context, m *update.Machine, _ *config.Config) error {
				if len(arguments) == 2 {
					content, err := m.EvidenceFile(ctx, generation.ID(arguments[0]), arguments[1])
					if err != nil {
						return err
					}
					return p.printEvidenceFile(arguments[1], content)
				}
				kept, err := m.Evidence(ctx, generation.ID(strings.Join(arguments, "")))
				if err != nil {
					return err
				}
				return p.printEvidence(kept)
			})
		},
	}
}

func (p *program) checkCommand() *cobra.Command {
	var verify string
	command := p.simpleCommand("check", "Can this machine be updated and rolled back? Exits 1 on a blocking finding",
		func(ctx context.Context, m *update.Machine) error {
			full, err := verifies(verify)
			if err != nil {
				return err
			}
			findings, err := m.Check(ctx, full)
			if err != nil {
				return err
			}
			if err := p.printCheck(findings); err != nil {
				return err
			}
			for _, f := range findings {
				if f.Severity == sdk.SeverityBlocking {
					return findingsError{}
				}
			}
			return nil
		})
	command.Flags().StringVar(&verify, "verify", config.VerifyRecorded, "`HOW` to know that the trees of all generations are whole: by what the filesystem and the journal say, or full, by reading all of them")
	return command
}

func (p *program) collectCommand() *cobra.Command {
	return p.simpleCommand("gc", "Remove generations beyond what the configuration keeps",
		func(ctx context.Context, m *update.Machine) error {
			done, err := m.Collect(ctx)
			if err != nil {
				return err
			}
			return p.printCollect(done)
		})
}

// simpleCommand makes a command without arguments and flags of its own.
func (p *program) simpleCommand(name, short string, act func(context.Context, *update.Machine) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return p.withMachine(c.Context(), func(ctx context.Context, m *update.Machine, _ *config.Config) error {
				return act(ctx, m)
			})
		},
	}
}

func (p *program) pluginsCommand() *cobra.Command {
	command := &cobra.Command{Use: "plugins", Short: "List or check plugins", Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return usageError{fmt.Errorf("say which: plugins list, or plugins check PROGRAM")}
		}}
	command.AddCommand(
		&cobra.Command{Use: "list", Short: "Show the plugins of this machine", Args: usage(cobra.NoArgs),
			RunE: func(c *cobra.Command, _ []string) error { return p.listPlugins(c.Context()) }},
		&cobra.Command{Use: "check PROGRAM", Short: "Start a plugin program and see whether it speaks the contract", Args: usage(cobra.ExactArgs(1)),
			RunE: func(c *cobra.Command, arguments []string) error { return p.checkPlugin(c.Context(), arguments[0]) }},
	)
	return command
}
