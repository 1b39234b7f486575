package scenario

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/trebuchet-update/tbupdate/lab/machine"
	"github.com/trebuchet-update/tbupdate/lab/release"
)

// player plays one case. Beside those of testscript its scripts have these commands;
// a version is that of a release, such as 1 or 2-panic.
//
// What happens:
//
//	machine [OPTION…]         make the machine, which is off: release 1 is installed;
//	                          boot=MIB is the size of /boot, first=MIB that of the
//	                          first partition; confirm-timeout=DURATION is what the
//	                          configuration says; init=systemd has a distribution with
//	                          systemd instead of the small system; watchdog=i6300esb
//	                          has that device in the machine
//	power-on                  switch it on
//	power-cut                 cut the power; a failure, of which the time is taken
//	off                       power off in an orderly way
//	record                    record all that reaches the disk from the next power-on on
//	reset                     press the reset button; a failure as well
//	reboot                    restart in an orderly way
//	update VARIANT [FLAG…]    apply, without rebooting, the next release after the one
//	                          that runs; what tbupdate prints goes to stdout
//	background VARIANT        begin that, and do not wait for it
//	guest COMMAND…            run a shell command in the guest
//	hold CALL before|after    have the boot plugin stop for ever around this call
//	held                      wait until it has
//	fails PATTERN             wait for a line on the console: the failure
//
// What must be:
//
//	runs VERSION [trial]      wait for the next guest that is up; it is this version, as
//	                          a whole; with "trial" it is on trial, else not
//	comes-back-to VERSION     the same after failures: other guests may come up before,
//	                          and the time since the failure is taken
//	console PATTERN           wait for a line on the console, since the last boot
//	confirmed                 wait until the boot integration is through with this boot;
//	                          then what runs is the default, and nothing is on trial
//	status KEY=VALUE…         running, default, trial (version or none), state, or the
//	                          state of a version
//	history PATTERN           tbupdate history has a line like that
//	states N VERSION…         whatever a loss of power could have left of the disk at any
//	                          instant of what was recorded is whole, and N of these states,
//	                          which are really booted, run one of these versions, "2:trial"
//	                          for one on trial, and can be updated from there
//	subvolumes NAME=VERSION…  what these subvolumes of the volume hold: root, current,
//	                          previous; "none" when there is no such subvolume
type player struct {
	ctx      context.Context
	workshop *machine.Workshop
	it       Case
	result   *Result

	machine *machine.Machine
	// position is behind the last line of the console that was looked at; booted is
	// behind that of the last guest that came up.
	position, booted int
	running          machine.Running
	// known are the releases that this machine has seen, by version.
	known map[string]release.Release
	// failure is the last one, until the machine came back.
	failure *failure
	// recording is what the command record began, nil for none.
	recording *recording
}

// failure is what a machine has to get over.
type failure struct {
	what string
	at   time.Time
}

// Limits for waiting. A boot of the small system takes 10 s, on a busy machine several times
// that.
const (
	bootLimit  = 3 * time.Minute
	eventLimit = 3 * time.Minute
)

// Play plays a case. t fails as testscript has it fail. The result is complete when Play
// returns, also by a panic or a runtime.Goexit of t.
func Play(ctx context.Context, workshop *machine.Workshop, it Case, t testscript.T, result *Result) {
	*result = Result{Scenario: it.Scenario.Name, Platform: it.Platform.Name}
	p := &player{ctx: ctx, workshop: workshop, it: it, result: result, known: map[string]release.Release{}}
	began := time.Now()
	directory, err := os.MkdirTemp("", "lab-story-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(directory)
	file := filepath.Join(directory, it.Scenario.Name+".txtar")
	if err := os.WriteFile(file, it.Scenario.text, 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() {
		result.Seconds = time.Since(began).Seconds()
		if p.recording != nil {
			if err := p.recording.close(); err != nil {
				t.Log(err)
			}
		}
		if p.machine != nil {
			if !result.Passed {
				t.Log("the console:\n" + p.machine.Console.Last(200))
			}
			if err := p.machine.Close(); err != nil {
				t.Log(err)
			}
		}
	}()
	testscript.RunT(t, testscript.Params{Files: []string{file}, Cmds: p.commands(), Condition: p.condition})
	result.Passed = true
}

// condition has scripts ask for a platform: [grub].
func (p *player) condition(name string) (bool, error) { return name == p.it.Platform.Name, nil }

// commands binds the methods to the names that scripts use.
func (p *player) commands() map[string]func(*testscript.TestScript, bool, []string) {
	commands := map[string]func(*testscript.TestScript, bool, []string){
		"update": p.update,
		"guest":  p.guest,
	}
	for name, act := range map[string]func(*testscript.TestScript, []string) error{
		"off": p.off, "record": p.record, "states": p.states,
		"machine": p.make, "power-on": p.powerOn, "power-cut": p.powerCut, "reset": p.reset, "reboot": p.reboot,
		"background": p.background, "hold": p.hold, "held": p.held, "fails": p.fails,
		"runs": p.runs, "comes-back-to": p.comesBackTo, "console": p.console, "confirmed": p.confirmed,
		"status": p.status, "history": p.history, "subvolumes": p.subvolumes,
	} {
		commands[name] = func(ts *testscript.TestScript, negated bool, arguments []string) {
			if negated {
				ts.Fatalf("%s cannot be negated", name)
			}
			if p.machine == nil && name != "machine" {
				ts.Fatalf("there is no machine yet")
			}
			ts.Check(act(ts, arguments))
		}
	}
	return commands
}

// within limits what waits.
func (p *player) within(limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.ctx, limit)
}

// expect fails unless the values are what is wanted, both by name.
func expect(what string, wanted, have map[string]string) error {
	var wrong []string
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if wanted[key] != have[key] {
			wrong = append(wrong, fmt.Sprintf("%s is %q instead of %q", key, have[key], wanted[key]))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s: %s", what, strings.Join(wrong, "; "))
	}
	return nil
}

// assignments parses KEY=VALUE words.
func assignments(words []string) (map[string]string, error) {
	values := map[string]string{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not KEY=VALUE", word)
		}
		values[key] = value
	}
	return values, nil
}
