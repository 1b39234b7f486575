package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/config"
	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/guard"
	"github.com/trebuchet-update/tbupdate/core/health"
	"github.com/trebuchet-update/tbupdate/core/update"
)

// board is where verdicts are left for the guard.
const board = guard.Board(runDirectory)

func (p *program) confirmCommand() *cobra.Command {
	var check, noReboot bool
	command := &cobra.Command{
		Use:   "confirm",
		Short: "Make the running trial the default",
		Long: `Without flags this is the operator's word: the running trial becomes the default.
With --check the health checks decide: where one fails, that is recorded and the
machine reboots, and the boot loader tries again or comes back to the old version.`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if check {
				return p.judge(c.Context(), noReboot)
			}
			return p.confirm(c.Context())
		},
	}
	command.Flags().BoolVar(&check, "check", false, "run the health checks, and reboot where one fails")
	command.Flags().BoolVar(&noReboot, "no-reboot", false, "with --check: leave the reboot to the operator")
	return command
}

func (p *program) confirm(ctx context.Context) error {
	return p.withMachine(ctx, func(ctx context.Context, m *update.Machine, _ *config.Config) error {
		done, err := m.Confirm(ctx)
		if err != nil {
			return err
		}
		p.settle(m)
		return p.printConfirm(done)
	})
}

// settle tells the guard of this boot that nothing is on trial any more. A guard that
// is not told asks the journal when its time is up.
func (p *program) settle(m *update.Machine) {
	id, trial := update.IsTrialBoot(m.CommandLine)
	if !trial {
		return
	}
	if err := board.Post(trialName(string(id), m.BootID), guard.Settled); err != nil {
		m.Reporter.Message(err.Error())
	}
}

// trialName is what a boot of a trial is called among verdicts. One of an earlier boot is
// none of this.
func trialName(id, bootID string) string {
	if bootID == "" {
		return id
	}
	return id + "-" + bootID
}

// unhealthyError says that a system did not pass its checks.
type unhealthyError struct {
	reason, state string
	// said is true where the reason was announced already.
	said bool
}

func (e unhealthyError) Error() string { return e.reason }

// judge runs the health checks of a trial, and confirms it or gives it up.
func (p *program) judge(ctx context.Context, noReboot bool) error {
	boot, machine, settings, err := p.trialBoot(ctx)
	if err != nil {
		return err
	}
	if boot.Generation == nil {
		p.settle(machine)
		if p.flags.json {
			return p.printJSON(judgement{Report: health.Report{Checks: []health.Result{}}})
		}
		p.say("Nothing is on trial. Nothing was changed.")
		return nil
	}
	verdict := judgement{Trial: string(boot.Generation.ID), Version: boot.Generation.Version, Reason: boot.Failed,
		Report: health.Report{Checks: []health.Result{}}}
	if boot.Failed == "" {
		// No plugin runs and no lock is held meanwhile: a check may well call this
		// program.
		verdict.Report, err = p.checkHealth(ctx, machine, settings, boot)
		if err != nil {
			return err
		}
		verdict.Reason = verdict.Report.Reason()
	}
	if verdict.Reason == "" {
		return p.accept(ctx, verdict)
	}
	return p.reject(ctx, verdict, noReboot)
}

// judgement is what judging a trial came to. The JSON names are a contract.
type judgement struct {
	Confirmed string `json:"confirmed"`
	Trial     string `json:"trial"`
	Version   string `json:"version,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Reboot    bool   `json:"reboot"`
	health.Report
}

// findings are the files that are kept of a failed judgement.
func (j judgement) findings() map[string][]byte {
	if len(j.Checks) == 0 {
		return nil
	}
	document, err := json.MarshalIndent(j.Report, "", "  ")
	if err != nil {
		return nil
	}
	return map[string][]byte{"health.json": document, "health.txt": []byte(j.Text())}
}

// trialBoot asks what this boot is, and gives the machine without its plugins.
func (p *program) trialBoot(ctx context.Context) (boot *update.TrialBoot, machine *update.Machine, settings *config.Config, err error) {
	err = p.withMachine(ctx, func(ctx context.Context, m *update.Machine, c *config.Config) error {
		machine, settings = m, c
		boot, err = m.TrialBoot(ctx)
		return err
	})
	return boot, machine, settings, err
}

// accept confirms a trial that passed its checks.
func (p *program) accept(ctx context.Context, verdict judgement) error {
	return p.withMachine(ctx, func(ctx context.Context, m *update.Machine, _ *config.Config) error {
		done, err := m.Confirm(ctx)
		if err != nil {
			return err
		}
		p.settle(m)
		if p.flags.json {
			if done.Generation != nil {
				verdict.Confirmed = string(done.Generation.ID)
			}
			return p.printJSON(verdict)
		}
		for _, check := range verdict.Checks {
			p.say("passed  %s  (%.1f s)", check.Name, check.Seconds)
		}
		return p.printConfirm(done)
	})
}

// reject records why a trial is given up, and reboots. What cannot be recorded is no
// reason to go on with a system that is known to be broken.
func (p *program) reject(ctx context.Context, verdict judgement, noReboot bool) error {
	ctx = context.WithoutCancel(ctx) // a signal does not save what has failed
	var boot *update.TrialBoot
	bootID, _ := p.bootID()
	err := p.withMachine(ctx, func(ctx context.Context, m *update.Machine, _ *config.Config) (err error) {
		boot, err = m.FailTrial(ctx, verdict.Reason, verdict.findings())
		return err
	})
	if boot != nil && boot.Generation == nil {
		return errors.New("the trial was settled by somebody else while its checks ran")
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "tbupdate: the reason could not be recorded: %v.\n", err)
	}
	verdict.Reboot = p.flags.commandLine == "" && !noReboot
	what := "it is left running"
	if verdict.Reboot {
		what = "rebooting"
	}
	p.announce("the trial of generation %s (%s) failed: %s; %s", verdict.Trial, verdict.Version, verdict.Reason, what)
	if p.flags.json {
		err = p.printJSON(verdict)
	} else {
		p.say("%s", strings.TrimRight(verdict.Text(), "\n"))
	}
	failure := unhealthyError{reason: verdict.Reason, said: true, state: "The boot loader's default is the version before; reboot to go on."}
	if !verdict.Reboot {
		return failure
	}
	failure.state = "The machine reboots; the boot loader tries again or comes back to the version before."
	if err := board.Post(trialName(verdict.Trial, bootID), guard.Rejected); err != nil {
		fmt.Fprintf(p.stderr, "tbupdate: %v.\n", err)
	}
	if rebootErr := p.rebooter.Request(ctx); rebootErr != nil {
		p.announce("%v; rebooting by force", rebootErr)
		err = errors.Join(err, p.rebooter.Force())
	}
	return errors.Join(err, failure)
}

// announce says something on standard error and, on the machine that it is about, in
// the kernel's log, from where it gets to the console and into what is kept of a
// crash.
func (p *program) announce(format string, arguments ...any) {
	text := fmt.Sprintf(format, arguments...)
	if !p.flags.quiet {
		fmt.Fprintf(p.stderr, "tbupdate: %s.\n", text)
	}
	if p.flags.commandLine != "" {
		return
	}
	log, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer log.Close()
	fmt.Fprintf(log, "<2>tbupdate: %s\n", text) // 2: critical (Documentation/ABI/testing/dev-kmsg)
}

func (p *program) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Run the health checks, without consequences; exits 1 when one fails",
		Args:  usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			boot, machine, settings, err := p.trialBoot(c.Context())
			if err != nil {
				return err
			}
			report, err := p.checkHealth(c.Context(), machine, settings, boot)
			if err != nil {
				return err
			}
			if p.flags.json {
				err = p.printJSON(report)
			} else if p.say("%s", strings.TrimRight(report.Text(), "\n")); len(report.Checks) == 0 {
				p.say("There are no health checks.")
			}
			if err == nil && !report.Healthy {
				err = unhealthyError{reason: report.Reason(), state: "Nothing was changed."}
			}
			return err
		},
	}
}

// checkHealth runs the health checks of this system. On disks that this machine did
// not boot from, only those of the disk and the operator's are run: the others are about what runs.
func (p *program) checkHealth(ctx context.Context, m *update.Machine, settings *config.Config, boot *update.TrialBoot) (health.Report, error) {
	environment := []string{"TBUPDATE_TRIAL=0"}
	if boot.Generation != nil {
		environment = []string{"TBUPDATE_TRIAL=1", "TBUPDATE_GENERATION=" + string(boot.Generation.ID), "TBUPDATE_VERSION=" + boot.Generation.Version}
	}
	suite := health.Suite{
		Timeout: time.Duration(settings.Health.Timeout), Settle: time.Duration(settings.Health.Settle),
		Started: func(name string) { m.Reporter.Message("health check: " + name) },
	}
	if boot.Generation != nil {
		suite.Checks = append(suite.Checks, p.diskChecks(*boot.Generation, settings.Health)...)
	}
	if m.Live() {
		suite.Checks = append(suite.Checks, health.Check{Name: "root", Run: p.checkRoot})
		suite.Checks = append(suite.Checks, health.Booted()...)
		suite.Checks = append(suite.Checks, health.Units(settings.Health.Units)...)
		suite.Checks = append(suite.Checks, health.Network(settings.Health.Network)...)
	}
	suite.Checks = append(suite.Checks, health.Programs(settings.Update.Health, environment)...)
	return suite.Run(ctx)
}

// diskChecks are the health checks that what the disk has of a trial is what was installed. They read it for
// the first time since it was written and flushed: the cache that had it is gone.
func (p *program) diskChecks(trial generation.Generation, settings config.Health) []health.Check {
	verify := func(what func(*update.Machine, context.Context, generation.Generation) error) func(context.Context, io.Writer) error {
		return func(ctx context.Context, _ io.Writer) error {
			return p.withMachine(ctx, func(ctx context.Context, m *update.Machine, _ *config.Config) error { return what(m, ctx, trial) })
		}
	}
	checks := []health.Check{{Name: "kernel", Run: verify((*update.Machine).VerifyKernel)}}
	if settings.Verify == config.VerifyFull {
		checks = append(checks, health.Check{Name: "tree", Run: inTime(time.Duration(settings.Timeout)*9/10, verify((*update.Machine).VerifyTree))})
	}
	return checks
}

// inTime is a check that passes when its time is over: a slow disk is not a damaged one.
func inTime(limit time.Duration, check func(context.Context, io.Writer) error) func(context.Context, io.Writer) error {
	return func(ctx context.Context, output io.Writer) error {
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		err := check(limited, output)
		if err != nil && ctx.Err() == nil && limited.Err() != nil {
			fmt.Fprintf(output, "Not all of it was read within %s, and nothing of that was wrong.\n", limit)
			return nil
		}
		return err
	}
}
