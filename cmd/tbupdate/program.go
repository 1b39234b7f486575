package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/config"
	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/pluginhost"
	"github.com/trebuchet-update/tbupdate/core/update"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// program is one run of the command line, with all that it depends on.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time
	// observe, where it is set, sees every step of an operation as it passes.
	observe func(generation.OperationKind, update.Step, update.Phase)
	// wrap, where it is set, decorates the plugins.
	wrap func(sdk.FS, sdk.Boot) (sdk.FS, sdk.Boot)
	// limits are how long the plugins may take; zero ones have their default.
	limits   pluginhost.Limits
	rebooter rebooter

	flags flags
	// answered is true once the one JSON object is printed.
	answered bool
}

// flags are those that every command takes.
type flags struct {
	config      string
	fs, boot    string
	commandLine string
	json        bool
	quiet       bool
	verbose     bool
}

// run parses the arguments, runs the command and gives the exit code.
func (p *program) run(ctx context.Context, arguments []string) int {
	root := p.rootCommand()
	root.SetArgs(arguments)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	// A command line that cannot be parsed may end before --json is reached.
	p.flags.json = p.flags.json || slices.Contains(arguments, "--json")
	return p.fail(err)
}

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "tbupdate",
		Short:         "Update a Linux system in the field, and come back by itself if the new version does not work",
		Long:          rootHelp,
		Version:       version,
		SilenceErrors: true, // fail prints them
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	all := root.PersistentFlags()
	all.StringVar(&p.flags.config, "config", "", "configuration `FILE` (default "+config.DefaultPath+")")
	all.StringVar(&p.flags.fs, "fs", "", "`NAME` of the filesystem plugin, instead of the configured one")
	all.StringVar(&p.flags.boot, "boot", "", "`NAME` of the boot loader plugin, instead of the configured one")
	all.StringVar(&p.flags.commandLine, "cmdline", "", "`FILE` with the kernel command line that says what was booted, for disks that this machine did not boot from (default /proc/cmdline)")
	all.BoolVar(&p.flags.json, "json", false, "print one JSON object on standard output")
	all.BoolVarP(&p.flags.quiet, "quiet", "q", false, "print errors only")
	all.BoolVarP(&p.flags.verbose, "verbose", "v", false, "print what the plugins log, too")
	root.MarkFlagsMutuallyExclusive("quiet", "verbose")
	root.AddCommand(p.initCommand(), p.applyCommand(), p.statusCommand(), p.confirmCommand(), p.rollbackCommand(),
		p.recoverCommand(), p.guardCommand(), p.healthCommand(), p.historyCommand(), p.evidenceCommand(), p.checkCommand(), p.collectCommand(), p.pluginsCommand())
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

const rootHelp = `Trebuchet Update puts a new version of the system beside the running one,
lets the boot loader try it once, and makes it permanent when it is confirmed.

Exit codes:
  0  done
  1  failed; the machine is as before
  2  wrong usage or configuration
  3  bundle refused (signature, product, hardware, origin, downgrade, known to have failed)
  4  no room
  5  a plugin failed
  6  the state needs "tbupdate recover", or cannot be judged
  7  another update is in progress`

// Exit codes that are not classes of package update.
const (
	exitDone   = 0
	exitFailed = int(update.Failed)
	exitUsage  = int(update.Usage)
)

// outputError says that a command did its work and could not print the result.
type outputError struct{ error }

func (e outputError) Error() string { return fmt.Sprintf("cannot print the result: %v", e.error) }

// usageError is a complaint about the command line.
type usageError struct{ error }

// findingsError makes check exit with 1 after it printed what it found.
type findingsError struct{}

func (findingsError) Error() string { return "the machine is not ready for updates" }

// usage makes the errors of argument checks usage errors.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, arguments []string) error {
		if err := check(c, arguments); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// fail prints an error as the contract asks: one sentence on what was being done,
// to what, and why it stopped; one on the machine's state. It gives the exit code.
func (p *program) fail(err error) int {
	code, state := exitFailed, ""
	var classified *update.Error
	var wrongUsage usageError
	var unprinted outputError
	var wrongConfig *config.Error
	var badPlugin *pluginhost.Error
	var refused *sdk.Error
	var unhealthy unhealthyError
	switch {
	case errors.As(err, &findingsError{}):
		return exitFailed
	case errors.As(err, &wrongUsage):
		code, state = exitUsage, `Nothing was changed; "tbupdate --help" lists what there is.`
	case errors.As(err, &unprinted):
		state = "The command did its work."
	case errors.As(err, &unhealthy):
		state = unhealthy.state
	case errors.As(err, &wrongConfig):
		code, state = exitUsage, "Nothing was changed."
	case errors.As(err, &classified):
		code, state = int(classified.Class), classified.State
	case errors.As(err, &badPlugin):
		code, state = int(update.BadPlugin), "Nothing was changed."
	case errors.As(err, &refused):
		code, state = exitFailed, "Nothing was changed."
	case strings.HasPrefix(err.Error(), "unknown command"), strings.Contains(err.Error(), "were all set"):
		code, state = exitUsage, `Nothing was changed; "tbupdate --help" lists what there is.`
	}
	message := strings.TrimSuffix(strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "), ".")
	if !unhealthy.said || p.flags.quiet {
		fmt.Fprintf(p.stderr, "tbupdate: %s.\n", message)
	}
	if state != "" {
		fmt.Fprintln(p.stderr, state)
	}
	if p.flags.json && !p.answered {
		_ = p.printJSON(map[string]any{"error": message, "state_of_machine": state, "exit_code": code})
	}
	return code
}

// printJSON prints one object.
func (p *program) printJSON(value any) error {
	p.answered = true
	encoder := json.NewEncoder(p.stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return outputError{err}
	}
	return nil
}

// say prints a line for people, unless they asked for silence or for JSON.
func (p *program) say(format string, arguments ...any) {
	if p.flags.quiet || p.flags.json {
		return
	}
	fmt.Fprintf(p.stdout, format+"\n", arguments...)
}
