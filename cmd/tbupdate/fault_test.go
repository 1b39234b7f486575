package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/update"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/wire"
)

// ran is how a command that runs in this process ended.
type ran struct {
	code           int
	stdout, stderr string
}

// runHere runs a command in this process, on a program that setUp may change.
func (m *testMachine) runHere(ctx context.Context, setUp func(*program), command ...string) ran {
	var stdout, stderr bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, now: time.Now, rebooter: noReboot{}}
	if setUp != nil {
		setUp(p)
	}
	code := p.run(ctx, m.flags(m.inWork(command)))
	return ran{code, stdout.String(), stderr.String()}
}

// inWork makes the name of the update that the crash table uses absolute.
func (m *testMachine) inWork(command []string) []string {
	command = slices.Clone(command)
	if i := slices.Index(command, "update"); i > 0 {
		command[i] = m.work + "/update"
	}
	return command
}

// TestCallsAreClassified compares what faultyFS and faultyBoot say of each method with
// what the wire contract says of it.
func TestCallsAreClassified(t *testing.T) {
	f := &fault{gone: true} // so that no call goes further than here
	for service, contract := range map[string]any{"FS": faultyFS{fault: f}, "Boot": faultyBoot{fault: f}} {
		for method, value := range reflect.ValueOf(contract).Methods() {
			f.changes, f.reads = nil, nil
			parameters := make([]reflect.Value, value.Type().NumIn())
			for i := range parameters {
				parameters[i] = reflect.Zero(value.Type().In(i))
			}
			value.Call(parameters)
			from := service
			if _, common := reflect.TypeFor[sdk.Plugin]().MethodByName(method.Name); common {
				from = "Plugin"
			}
			want, known := wire.MethodOf("/tbupdate.plugin.v1." + from + "/" + method.Name)
			if !known {
				t.Errorf("%s.%s is not in the wire contract", from, method.Name)
			}
			changes, reads := []string{want.Name}, []string(nil)
			if !want.Changes {
				changes, reads = reads, changes
			}
			if !slices.Equal(f.changes, changes) || !slices.Equal(f.reads, reads) {
				t.Errorf("%s.%s counts as the changing calls %v and the reading calls %v, want %v and %v", from, method.Name, f.changes, f.reads, changes, reads)
			}
		}
	}
}

// withFault runs a command with a fault in a call as this process makes it.
func (m *testMachine) withFault(f *fault, command ...string) ran {
	return m.runHere(m.t.Context(), func(p *program) {
		p.wrap = func(fs sdk.FS, boot sdk.Boot) (sdk.FS, sdk.Boot) {
			f.begins = append(f.begins, len(f.reads))
			return faultyFS{fs, f}, faultyBoot{boot, f}
		}
	}, command...)
}

// everyCallFails lets each changing call fail, before and after it had its effect, and
// lets the plugins go away for good. Calls that change nothing fail, too.
func (c crashCase) everyCallFails(t *testing.T, base *testMachine) {
	none := &fault{}
	base.clone(t).withFault(none, c.command...)
	if diff := cmp.Diff(c.calls, none.changes); diff != "" {
		t.Fatalf("the changing calls of the operation are not those of the table (-table +operation):\n%s", diff)
	}
	for i, call := range c.calls {
		for _, mode := range []faultMode{failsBefore, failsAfter, goneBefore, goneAfter} {
			if !thorough && mode != failsAfter && !(mode == goneAfter && isSwitch(call)) {
				continue
			}
			t.Run(fmt.Sprintf("%02d %s/%s", i+1, call, mode), func(t *testing.T) { c.failAt(t, base.clone(t), faultAt(mode, c.calls, i)) })
		}
	}
	for i, call := range none.reads {
		if !thorough {
			break
		}
		t.Run(fmt.Sprintf("read %02d %s", i+1, call), func(t *testing.T) { c.failAt(t, base.clone(t), faultAt(failsBefore, none.reads, i)) })
	}
}

// faultAt is a fault in the i-th of these calls, counted from 0.
func faultAt(mode faultMode, calls []string, i int) *fault {
	return &fault{mode: mode, call: calls[i], n: count(calls[:i+1], calls[i])}
}

// isSwitch reports whether a call is one that changes what boots next.
func isSwitch(call string) bool { return call == "Boot.Arm" || call == "Boot.SetDefault" }

// failAt runs the operation with one fault and looks at what is left.
func (c crashCase) failAt(t *testing.T, m *testMachine, f *fault) {
	layout := m.layout()
	c.judge(t, m, layout, m.withFault(f, c.command...))
}

// judge looks at what an operation left that something went wrong in, and whether it
// said so. layout is what it began with.
func (c crashCase) judge(t *testing.T, m *testMachine, layout string, r ran) {
	t.Helper()
	t.Logf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	unchanged := strings.Contains(r.stderr, "as before") || strings.Contains(r.stderr, "Nothing was changed")
	unsettled := strings.Contains(r.stderr, `run "tbupdate recover"`) || strings.Contains(r.stderr, `run "tbupdate init" again`)
	unclear := update.Class(r.code) == update.Unclear
	switch {
	case r.code == exitDone && unchanged, unchanged && unsettled, unsettled && !unclear, unclear && !unchanged && !unsettled:
		t.Errorf("it says that nothing was changed: %v, and that recover is needed: %v", unchanged, unsettled)
	case unchanged:
		c.checkUndone(t, m, layout)
	case r.code == exitDone:
		m.checkNothingInFlight()
	case !unsettled && !c.goesOn:
		t.Error("it does not say what state the machine is in")
	}
	c.settle(t, m)
}

// settle starts the machine, runs recover, and makes sure that it came to the state
// before the operation or to the one after it.
func (c crashCase) settle(t *testing.T, m *testMachine) {
	t.Helper()
	if c.before.boots == "installed" && !m.hasDefault() {
		c.againAfterInit(t, m)
		return
	}
	m.powerOn()
	booted := m.bootedVersion()
	want := c.after
	if booted == c.before.boots && c.before != c.after {
		want = c.before
	}
	if booted != want.boots {
		t.Fatalf("the machine boots %s, want %s or %s", booted, c.before.boots, c.after.boots)
	}
	m.tbupdate("recover")
	m.checkWhole(want)
	layout := m.layout()
	if second := m.tbupdate("recover"); !want.trial && !strings.Contains(second, "Everything is in order") || layout != m.layout() {
		t.Errorf("a second recover changed something: %s\n%s", second, cmp.Diff(layout, m.layout()))
	}
	if thorough {
		m.checkNextUpdate(want)
	}
}

// checkUndone makes sure that a command which says so left everything as it was.
func (c crashCase) checkUndone(t *testing.T, m *testMachine, layout string) {
	t.Helper()
	if diff := cmp.Diff(layout, m.layout()); diff != "" {
		t.Errorf("it is said to be as before (-before +after):\n%s", diff)
	}
	if !c.goesOn { // that may have begun with one in flight
		m.checkNothingInFlight()
	}
}

func (m *testMachine) checkNothingInFlight() {
	m.t.Helper()
	if status := m.runHere(m.t.Context(), nil, "--json", "status"); strings.Contains(status.stdout, "in_flight") {
		m.t.Errorf("an operation was left in flight:\n%s", status.stdout)
	}
}

// hasDefault reports whether the boot loader starts an entry of ours.
func (m *testMachine) hasDefault() (has bool) {
	m.withBoot(func(top string) {
		block := top + "/tbupdate/grubenv"
		if _, err := os.Stat(block); err == nil {
			has = m.environment(block)["tbupdate_default"] != ""
		}
	})
	return has
}

// stoppedAtEveryStep stops the operation with a signal at each of its steps. Before the
// switch that undoes it, and says so; at the switch or after it, and for what must not
// stay half done, it comes too late.
func (c crashCase) stoppedAtEveryStep(t *testing.T, base *testMachine) {
	for i, step := range c.steps {
		for _, phase := range []update.Phase{update.Intended, update.Acted, update.Recorded} {
			if !thorough && phase != update.Intended && step != c.switches {
				continue
			}
			late := c.goesOn || i > slices.Index(c.steps, c.switches) || step == c.switches && phase != update.Intended
			t.Run(step+"/"+string(phase), func(t *testing.T) { c.stopAt(t, base.clone(t), step, phase, late) })
		}
	}
}

func (c crashCase) stopAt(t *testing.T, m *testMachine, step string, phase update.Phase, late bool) {
	layout := m.layout()
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	r := m.runHere(ctx, func(p *program) {
		p.observe = func(kind generation.OperationKind, s update.Step, ph update.Phase) {
			if place(kind, s, ph) == step+"/"+string(phase) {
				stop(errors.New("terminated signal received"))
			}
		}
	}, c.command...)
	if late {
		if r.code != c.exit {
			t.Errorf("exit code %d, want %d\n%s", r.code, c.exit, r.stderr)
		}
		if c.before.boots == "installed" {
			m.powerOn()
			m.tbupdate("recover")
			m.checkWhole(c.after)
			return
		}
		c.settle(t, m)
		return
	}
	if r.code != exitFailed || !strings.Contains(r.stderr, "terminated signal received") || !strings.Contains(r.stderr, "as before") {
		t.Errorf("exit code %d, want 1 and that the machine is as before\n%s", r.code, r.stderr)
	}
	c.checkUndone(t, m, layout)
}
