package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/trebuchet-update/tbupdate/core/config"
	"github.com/trebuchet-update/tbupdate/core/guard"
	"github.com/trebuchet-update/tbupdate/core/update"
	"github.com/trebuchet-update/tbupdate/core/watchdog"
)

// Times of a guard whose trial is given up.
const (
	// recordLimit is how long recording the reason may take.
	recordLimit = time.Minute
	// rebootGrace is how long an orderly reboot may take before it is forced. The
	// watchdog is fed until then, and no longer.
	rebootGrace = 90 * time.Second
)

func (p *program) guardCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "guard",
		Short: "Run beside a trial: tend the watchdog, and reboot when it is not confirmed in time",
		Long: `On a boot that is no trial this ends at once. On a trial it runs until the trial is
confirmed or taken back. Killed, it leaves the watchdog armed, which then resets the
machine: a trial without its guard is not trusted.`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return p.guard(c.Context()) },
	}
}

// guard waits with a trial for its judgement. The configuration may be what is broken
// about the trial: then the defaults hold.
func (p *program) guard(ctx context.Context) error {
	commandLine, err := p.readCommandLine()
	if err != nil {
		return err
	}
	id, trial := update.IsTrialBoot(commandLine)
	if !trial {
		p.say("This boot is no trial.")
		return nil
	}
	settings, err := p.readConfig()
	if err != nil {
		p.announce("the guard works with the default settings: %v", err)
		settings = config.Default()
	}
	dog := p.armWatchdog(ctx, settings.Update)
	bootID, err := p.bootID()
	if err != nil {
		p.announce("%v", err) // then it is the journal that says how the trial goes
	}
	g := &guard.Guard{
		Trial: trialName(string(id), bootID), Board: board, Limit: time.Duration(settings.Update.ConfirmTimeout), Elapsed: p.elapsed(),
		Report: func(err error) { p.announce("%v", err) },
	}
	if dog != nil {
		g.Dog, g.FeedEvery = dog, max(dog.Timeout/4, 500*time.Millisecond)
	}
	tended, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go g.Tend(tended)

	verdict := g.Watch(ctx)
	if verdict == guard.Expired {
		verdict = p.expire(ctx, string(id), g.Limit)
	}
	switch verdict {
	case guard.Pending:
		// Asked to end, which happens when the machine goes down: the watchdog goes
		// on, so that it goes down within its time.
		return nil
	case guard.Settled:
		stop()
		return p.release(ctx, dog)
	}
	return p.insist(ctx, verdict, stop)
}

// elapsed gives the clock of a trial: since the boot, or on disks that this machine
// did not boot from since now.
func (p *program) elapsed() func() time.Duration {
	began := time.Now()
	return func() time.Duration {
		if p.flags.commandLine == "" {
			if since, err := guard.SinceBoot(); err == nil {
				return since
			}
		}
		return time.Since(began)
	}
}

// armWatchdog arms the configured watchdog, nil where there is none or where the
// service manager tends it.
func (p *program) armWatchdog(ctx context.Context, settings config.Update) *watchdog.Device {
	if settings.Watchdog == config.WatchdogOff || p.flags.commandLine != "" {
		return nil
	}
	path := settings.Watchdog
	if path == config.WatchdogAuto {
		path = ""
	}
	device, err := watchdog.Open(ctx, path, time.Duration(settings.WatchdogTimeout))
	switch {
	case errors.Is(err, watchdog.ErrTaken):
		p.say("The watchdog is tended by another process, as by systemd.")
		return nil
	case err != nil:
		p.announce("the trial runs without a watchdog: %v", err)
		return nil
	}
	p.say("The watchdog %s is armed for %s.", device.Path, device.Timeout)
	return device
}

// release stops the watchdog, or goes on feeding one that cannot be stopped.
func (p *program) release(ctx context.Context, dog *watchdog.Device) error {
	p.say("The trial is settled.")
	if dog == nil {
		return nil
	}
	if !dog.Lasting() {
		return dog.Stop()
	}
	p.say("The watchdog cannot be stopped, so it is fed as long as the machine runs.")
	lasting := guard.Guard{Dog: dog, FeedEvery: max(dog.Timeout/4, 500*time.Millisecond), Report: func(err error) { p.announce("%v", err) }}
	lasting.Tend(ctx)
	return nil
}

// expire records that the time was up. The journal has the last word: where nothing is
// on trial any more, the verdict is that it is settled.
func (p *program) expire(ctx context.Context, id string, limit time.Duration) guard.Verdict {
	reason := fmt.Sprintf("not confirmed within %s", limit)
	limited, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), recordLimit, errors.New("the time to record it was up"))
	defer cancel()
	type answer struct {
		boot *update.TrialBoot
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		var a answer
		a.err = p.withMachine(limited, func(ctx context.Context, m *update.Machine, _ *config.Config) (err error) {
			a.boot, err = m.FailTrial(ctx, reason, nil)
			return err
		})
		answered <- a
	}()
	var a answer
	select {
	case a = <-answered:
	case <-limited.Done():
		a.err = context.Cause(limited)
	}
	if a.boot != nil && a.boot.Generation == nil {
		return guard.Settled
	}
	if a.err != nil {
		p.announce("the reason could not be recorded: %v", a.err)
	}
	p.announce("the trial of generation %s failed: %s; rebooting", id, reason)
	return guard.Expired
}

// insist reboots: orderly, and by force where that takes too long. If all hangs, the
// watchdog is what is left.
//
// stop ends the feeding.
func (p *program) insist(ctx context.Context, verdict guard.Verdict, stop func()) error {
	if p.flags.commandLine != "" {
		return unhealthyError{reason: "the trial was given up", said: true, state: "The boot loader's default is the version before."}
	}
	if verdict == guard.Expired {
		if err := p.rebooter.Request(context.WithoutCancel(ctx)); err != nil {
			p.announce("%v", err)
		}
	}
	select {
	case <-ctx.Done():
		// The last of all processes are asked to end, and the shutdown waits for
		// them. The watchdog bounds what is left of it.
		return nil
	case <-time.After(rebootGrace):
	}
	p.announce("the orderly reboot takes longer than %s; rebooting by force", rebootGrace)
	stop()
	return p.rebooter.Force()
}
