package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/update"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// faultMode says how a call of a plugin fails.
type faultMode string

const (
	failsBefore faultMode = "before" // the call fails and has done nothing
	failsAfter  faultMode = "after"  // the call has done its work and fails all the same
	staysDown   faultMode = "down"   // this call and every later one fails: the plugin is gone
	wentDown    faultMode = "went"   // the call has done its work, and then the plugin is gone
)

var errInjected = sdk.Errorf(sdk.CodeInternal, "work on", "the disk", "injected fault")

// fault makes the n-th changing call of either plugin fail, counted from 1.
type fault struct {
	n     int
	mode  faultMode
	calls []string // names of the changing calls so far
}

// change makes one changing call.
func (f *fault) change(name string, act func() error) error {
	f.calls = append(f.calls, name)
	switch here := len(f.calls); {
	case f.mode == staysDown && here >= f.n, f.mode == wentDown && here > f.n, f.mode == failsBefore && here == f.n:
		return errInjected
	case (f.mode == failsAfter || f.mode == wentDown) && here == f.n:
		if err := act(); err != nil {
			return err
		}
		return errInjected
	}
	return act()
}

// read makes one call that changes nothing; it fails only when the plugin is gone.
func (f *fault) read(act func() error) error {
	if (f.mode == staysDown || f.mode == wentDown) && len(f.calls) >= f.n {
		return errInjected
	}
	return act()
}

// faultyFS is an sdk.FS with a fault.
type faultyFS struct {
	sdk.FS
	*fault
}

func (f faultyFS) Snapshot(ctx context.Context, from sdk.Identity, to string, readOnly bool) (made sdk.Subvolume, err error) {
	err = f.change("snapshot", func() error { made, err = f.FS.Snapshot(ctx, from, to, readOnly); return err })
	return made, err
}

func (f faultyFS) Rename(ctx context.Context, id sdk.Identity, to string) error {
	return f.change("rename", func() error { return f.FS.Rename(ctx, id, to) })
}

func (f faultyFS) Exchange(ctx context.Context, name string, id sdk.Identity) error {
	return f.change("exchange", func() error { return f.FS.Exchange(ctx, name, id) })
}

func (f faultyFS) Delete(ctx context.Context, id sdk.Identity) error {
	return f.change("delete", func() error { return f.FS.Delete(ctx, id) })
}

func (f faultyFS) Seal(ctx context.Context, id sdk.Identity) error {
	return f.change("seal", func() error { return f.FS.Seal(ctx, id) })
}

func (f faultyFS) SetDefault(ctx context.Context, id sdk.Identity) error {
	return f.change("set the default subvolume", func() error { return f.FS.SetDefault(ctx, id) })
}

func (f faultyFS) Prepare(ctx context.Context) error {
	return f.change("prepare", func() error { return f.FS.Prepare(ctx) })
}

func (f faultyFS) Lookup(ctx context.Context, name string) (have sdk.Subvolume, err error) {
	err = f.read(func() error { have, err = f.FS.Lookup(ctx, name); return err })
	return have, err
}

// faultyBoot is an sdk.Boot with a fault.
type faultyBoot struct {
	sdk.Boot
	*fault
}

func (f faultyBoot) Install(ctx context.Context, entry sdk.Entry) (set sdk.KernelSet, err error) {
	err = f.change("install", func() error { set, err = f.Boot.Install(ctx, entry); return err })
	return set, err
}

func (f faultyBoot) Remove(ctx context.Context, id string) error {
	return f.change("remove", func() error { return f.Boot.Remove(ctx, id) })
}

func (f faultyBoot) Arm(ctx context.Context, id string, tries int) error {
	return f.change("arm", func() error { return f.Boot.Arm(ctx, id, tries) })
}

func (f faultyBoot) Disarm(ctx context.Context) error {
	return f.change("disarm", func() error { return f.Boot.Disarm(ctx) })
}

func (f faultyBoot) SetDefault(ctx context.Context, id string) error {
	return f.change("set the default entry", func() error { return f.Boot.SetDefault(ctx, id) })
}

func (f faultyBoot) State(ctx context.Context) (state sdk.BootState, err error) {
	err = f.read(func() error { state, err = f.Boot.State(ctx); return err })
	return state, err
}

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

// withFault runs a command with a fault, and gives the changing calls that it made.
func (m *testMachine) withFault(n int, mode faultMode, command ...string) (ran, []string) {
	f := &fault{n: n, mode: mode}
	r := m.runHere(m.t.Context(), func(p *program) {
		p.wrap = func(fs sdk.FS, boot sdk.Boot) (sdk.FS, sdk.Boot) { return faultyFS{fs, f}, faultyBoot{boot, f} }
	}, command...)
	return r, f.calls
}

// TestPluginFails lets every changing call of every operation fail, before and
// after it had its effect, and lets the plugins go away for good: the machine boots
// the old pair or the new one; the command says truly that nothing changed, or
// recover brings the machine to one of the two.
func TestPluginFails(t *testing.T) {
	forEachOperation(t, func(t *testing.T, c crashCase, base *testMachine) {
		_, calls := base.clone(t).withFault(0, failsBefore, c.command...)
		if len(calls) == 0 && !c.noted {
			t.Fatal("the operation changes nothing")
		}
		for i, call := range calls {
			for _, mode := range []faultMode{failsBefore, failsAfter, staysDown, wentDown} {
				if !thorough && mode != failsAfter && !(mode == wentDown && isSwitch(call)) {
					continue
				}
				t.Run(fmt.Sprintf("%02d %s/%s", i+1, call, mode), func(t *testing.T) { c.failAt(t, base.clone(t), i+1, mode) })
			}
		}
	})
}

// isSwitch reports whether a call is one that changes what boots next.
func isSwitch(call string) bool { return call == "arm" || call == "set the default entry" }

// failAt runs the operation with one fault and looks at what is left.
func (c crashCase) failAt(t *testing.T, m *testMachine, n int, mode faultMode) {
	layout := m.layout()
	r, _ := m.withFault(n, mode, c.command...)
	t.Logf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	switch update.Class(r.code) {
	case 0:
	case update.Unclear:
		if strings.Contains(r.stderr, "as before") || strings.Contains(r.stderr, "Nothing was changed") {
			t.Errorf("it says that nothing changed, and that recover is needed")
		}
	default:
		if mode == staysDown && n == 1 && c.name == "init" {
			break // nothing was begun
		}
		if !c.goesOn {
			c.checkUndone(t, m, layout)
		}
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
	status := m.runHere(t.Context(), nil, "--json", "status")
	if strings.Contains(status.stdout, "in_flight") {
		t.Errorf("an operation was left in flight:\n%s", status.stdout)
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

// TestStoppedAtEveryStep stops every operation with a signal at each of its steps.
// Before the switch that undoes it, and says so; at the switch or after it, and for
// what must not stay half done, it comes too late.
func TestStoppedAtEveryStep(t *testing.T) {
	forEachOperation(t, func(t *testing.T, c crashCase, base *testMachine) {
		for i, step := range c.steps {
			for _, phase := range []update.Phase{update.Intended, update.Acted, update.Recorded} {
				if !thorough && phase != update.Intended && step != c.switches {
					continue
				}
				late := c.goesOn || i > slices.Index(c.steps, c.switches) || step == c.switches && phase != update.Intended
				t.Run(step+"/"+string(phase), func(t *testing.T) { c.stopAt(t, base.clone(t), step, phase, late) })
			}
		}
	})
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

// forEachOperation runs a test on each operation of the crash table, with a closed
// machine to clone that is where the operation begins.
func forEachOperation(t *testing.T, test func(t *testing.T, c crashCase, base *testMachine)) {
	plugins := buildPlugins(t)
	systems := makeSystems(t)
	for _, c := range crashCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base := newMachine(t, plugins, systems)
			base.install(systems + "/v1")
			base.write(base.work+"/config.toml", base.config())
			c.prepare(base)
			base.close()
			test(t, c, base)
		})
	}
}
