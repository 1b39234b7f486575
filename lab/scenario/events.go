package scenario

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/trebuchet-update/tbupdate/lab/machine"
	"github.com/trebuchet-update/tbupdate/lab/release"
)

// make is the command "machine".
func (p *player) make(ts *testscript.TestScript, words []string) error {
	if p.machine != nil {
		return errors.New("there is a machine already")
	}
	values, err := assignments(words)
	if err != nil {
		return err
	}
	var options machine.Options
	for key, value := range values {
		switch key {
		case "boot":
			options.BootSize, err = mebibytes(value)
		case "first":
			options.FirstSize, err = mebibytes(value)
		case "watchdog":
			options.Watchdog = value
		case "init":
			options.Systemd = value == "systemd"
		case "confirm-timeout":
			options.ConfirmTimeout, err = time.ParseDuration(value)
		default:
			err = errors.New("there is no such option")
		}
		if err != nil {
			return fmt.Errorf("cannot make a machine with %s=%s: %w", key, value, err)
		}
	}
	began := time.Now()
	if p.machine, err = p.workshop.New(p.ctx, p.it.Platform, options); err != nil {
		return err
	}
	ts.Logf("a machine of platform %s, made or found in %.1f s", p.it.Platform.Name, time.Since(began).Seconds())
	p.known[p.machine.Installed.Version] = p.machine.Installed
	return nil
}

func mebibytes(text string) (int64, error) {
	size, err := strconv.ParseInt(text, 10, 32)
	return size << 20, err
}

func (p *player) powerOn(*testscript.TestScript, []string) error {
	p.position = p.machine.Console.Position()
	return p.machine.PowerOn()
}

func (p *player) powerCut(*testscript.TestScript, []string) error {
	if !p.machine.On() {
		return errors.New("the machine is off already")
	}
	p.failure = &failure{"power cut", time.Now()}
	p.machine.CutPower()
	return nil
}

func (p *player) reset(*testscript.TestScript, []string) error {
	p.failure = &failure{"reset", time.Now()}
	p.position = p.machine.Console.Position()
	return p.machine.Reset()
}

func (p *player) reboot(*testscript.TestScript, []string) error {
	p.position = p.machine.Console.Position()
	return p.machine.Reboot(p.ctx)
}

// update applies the next release.
func (p *player) update(ts *testscript.TestScript, negated bool, words []string) {
	command, err := p.applying(words)
	ts.Check(err)
	p.shell(ts, negated, command)
}

// background begins to apply the next release.
func (p *player) background(_ *testscript.TestScript, words []string) error {
	command, err := p.applying(words)
	if err != nil {
		return err
	}
	_, err = p.machine.Shell(p.ctx, "("+command+") >/dev/console 2>&1 &")
	return err
}

// applying gives the command that applies a variant of the next release, which is put
// onto the machine's second disk: as a signed bundle, or where the second word is "stream"
// as a classic stream. Further words are options.
func (p *player) applying(words []string) (string, error) {
	if len(words) == 0 {
		return "", errors.New("an update needs a variant")
	}
	from, ok := p.known[p.running.Version]
	if !ok {
		return "", fmt.Errorf("nothing is known of version %q", p.running.Version)
	}
	next, err := p.machine.Releases.Next(p.ctx, from, words[0])
	if err != nil {
		return "", err
	}
	p.known[next.Version] = next
	options := append([]string{"--no-reboot"}, words[1:]...)
	deliver := p.machine.Releases.Bundle
	if len(words) > 1 && words[1] == "stream" {
		options[1] = "--allow-unsigned"
		deliver = p.machine.Releases.Stream
	}
	file, err := deliver(p.ctx, from, next)
	if err != nil {
		return "", err
	}
	read, err := p.machine.Deliver(file)
	if err != nil {
		return "", err
	}
	return read + " | tbupdate apply - " + strings.Join(options, " "), nil
}

// guest runs a shell command.
func (p *player) guest(ts *testscript.TestScript, negated bool, words []string) {
	p.shell(ts, negated, strings.Join(words, " "))
}

func (p *player) shell(ts *testscript.TestScript, negated bool, command string) {
	if p.machine == nil {
		ts.Fatalf("there is no machine yet")
	}
	ctx, cancel := p.within(eventLimit)
	defer cancel()
	answer, err := p.machine.Run(ctx, command)
	ts.Check(err)
	_, err = fmt.Fprint(ts.Stdout(), answer.Stdout)
	ts.Check(err)
	_, err = fmt.Fprint(ts.Stderr(), answer.Stderr)
	ts.Check(err)
	if negated == (answer.Exit == 0) {
		ts.Fatalf("it ended with %d", answer.Exit)
	}
}

// fails waits for the failure on the console.
func (p *player) fails(_ *testscript.TestScript, words []string) error {
	pattern, err := regexp.Compile(strings.Join(words, " "))
	if err != nil {
		return err
	}
	ctx, cancel := p.within(eventLimit)
	defer cancel()
	line, position, err := p.machine.Console.Wait(ctx, p.position, pattern)
	if err != nil {
		return err
	}
	p.position = position
	p.failure = &failure{strings.Join(words, " "), line.Time}
	return nil
}

// console waits for a line of this boot.
func (p *player) console(_ *testscript.TestScript, words []string) error {
	pattern, err := regexp.Compile(strings.Join(words, " "))
	if err != nil {
		return err
	}
	ctx, cancel := p.within(eventLimit)
	defer cancel()
	_, position, err := p.machine.Console.Wait(ctx, p.booted, pattern)
	p.position = max(p.position, position)
	return err
}

// recovered takes the time since the failure.
func (p *player) recovered(ts *testscript.TestScript, up machine.Running) {
	if p.failure == nil {
		return
	}
	took := up.At.Sub(p.failure.at).Seconds()
	ts.Logf("%s -> version %s running: %.1f s", p.failure.what, up.Version, took)
	p.result.Recoveries = append(p.result.Recoveries, Recovery{p.failure.what, took})
	p.failure = nil
}

// releaseOf gives what is known of the release that runs.
func (p *player) releaseOf(version string) (release.Release, error) {
	r, ok := p.known[version]
	if !ok {
		return r, fmt.Errorf("nothing is known of version %q", version)
	}
	return r, nil
}
