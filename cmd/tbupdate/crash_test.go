package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/update"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// crashCase is an operation that is killed at each of its steps.
type crashCase struct {
	name string
	// prepare brings the machine to where the operation begins.
	prepare func(*testMachine)
	// command is the operation, without the general flags.
	command []string
	// steps are those that it takes, in order. A step that is added to the
	// operation and not to this table fails the test.
	steps []string
	// calls are those of the plugins that may change something, in order. They are
	// complete in the same way.
	calls []string
	// switches is the step from which on the machine may boot what comes after.
	switches string
	// before and after are the versions that the machine may boot, and may have as
	// root once Recover was run: before the switch, and from it on.
	before, after outcome
	// goesOn is true for what a signal or a failing plugin must not undo: it ends,
	// now or in recover.
	goesOn bool
	// exit is the exit code of an operation that does what it should.
	exit int
	// noted is true for what changes nothing but the updater's own notes.
	noted bool
}

// outcome is what a machine boots, and what it is like after recover.
type outcome struct {
	boots string // version of the root that the loader starts
	root  string // version that snapshots/root has after recover
	trial bool   // whether it runs on trial then
}

// crashCases holds every operation that changes a machine.
var crashCases = []crashCase{
	{
		name:    "init",
		prepare: func(*testMachine) {},
		command: []string{"init"},
		steps: []string{"init/clear", "init/snapshot", "init/state", "init/seal", "init/name", "init/copy", "init/stage",
			"init/previous", "init/current", "init/root", "init/park", "init/set-default", "init/switch"},
		calls: []string{"FS.Prepare", "FS.Snapshot", "FS.Seal", "FS.Rename", "FS.Snapshot", "Boot.Install",
			"FS.Snapshot", "FS.Rename", "FS.SetDefault", "Boot.SetDefault"},
		switches: "init/switch",
		before:   outcome{boots: "installed"},
		after:    outcome{boots: "1.0", root: "1.0"},
	},
	{
		name:    "apply",
		prepare: func(m *testMachine) { m.tbupdate("init"); m.powerOn() },
		command: []string{"apply", "--allow-unsigned", "update"},
		steps: []string{"apply/clear", "apply/snapshot", "apply/deploy", "apply/seal", "apply/name", "apply/copy", "apply/stage",
			"apply/previous", "apply/current", "apply/root", "apply/park", "apply/set-default", "apply/arm"},
		calls: []string{"FS.Snapshot", "FS.Seal", "FS.Rename", "FS.Snapshot", "Boot.Install",
			"FS.Snapshot", "FS.Delete", "FS.Snapshot", "FS.Exchange", "FS.Rename", "FS.SetDefault", "Boot.Arm"},
		switches: "apply/arm",
		before:   outcome{boots: "1.0", root: "1.0"},
		after:    outcome{boots: "2.0", root: "2.0", trial: true},
	},
	{
		name: "confirm",
		prepare: func(m *testMachine) {
			m.tbupdate("init")
			m.powerOn()
			m.tbupdate("apply", "--allow-unsigned", "update")
			m.powerOn()
		},
		command:  []string{"confirm"},
		steps:    []string{"confirm/switch"},
		calls:    []string{"Boot.SetDefault"},
		switches: "confirm/switch",
		// The trial was used up when it booted: a crash before the confirmation
		// comes back to the old pair.
		before: outcome{boots: "1.0", root: "1.0"},
		after:  outcome{boots: "2.0", root: "2.0"},
	},
	{
		name: "roll back a good generation",
		prepare: func(m *testMachine) {
			m.tbupdate("init")
			m.powerOn()
			m.tbupdate("apply", "--allow-unsigned", "update")
			m.powerOn()
			m.tbupdate("confirm")
			m.powerOn()
		},
		command:  []string{"rollback"},
		steps:    []string{"rollback/previous", "rollback/current", "rollback/root", "rollback/park", "rollback/set-default", "rollback/switch"},
		calls:    []string{"FS.Delete", "FS.Snapshot", "FS.Delete", "FS.Snapshot", "FS.Exchange", "FS.Rename", "FS.SetDefault", "Boot.SetDefault"},
		switches: "rollback/switch",
		before:   outcome{boots: "2.0", root: "2.0"},
		after:    outcome{boots: "1.0", root: "1.0"},
	},
	{
		name: "fall back",
		prepare: func(m *testMachine) {
			m.tbupdate("init")
			m.powerOn()
			m.tbupdate("apply", "--allow-unsigned", "update")
			m.powerOn() // the trial, which fails
			m.powerOn()
		},
		command:  []string{"recover"},
		steps:    []string{"judge/evidence", "fall-back/disarm", "fall-back/previous", "fall-back/current", "fall-back/root", "fall-back/park", "fall-back/set-default"},
		calls:    []string{"Boot.Disarm", "FS.Delete", "FS.Delete", "FS.Snapshot", "FS.Exchange", "FS.Rename", "FS.SetDefault"},
		switches: "fall-back/disarm",
		before:   outcome{boots: "1.0", root: "1.0"},
		after:    outcome{boots: "1.0", root: "1.0"},
		goesOn:   true,
	},
	{
		name: "a trial comes up",
		prepare: func(m *testMachine) {
			m.tbupdate("init")
			m.powerOn()
			m.tbupdate("apply", "--allow-unsigned", "update")
			m.powerOn()
		},
		command:  []string{"recover"},
		steps:    []string{"judge/boot"},
		switches: "judge/boot",
		before:   outcome{boots: "1.0", root: "1.0"},
		after:    outcome{boots: "1.0", root: "1.0"},
		goesOn:   true,
		noted:    true,
	},
	{
		name: "a trial fails its checks",
		prepare: func(m *testMachine) {
			m.tbupdate("init")
			m.powerOn()
			m.tbupdate("apply", "--allow-unsigned", "update")
			m.powerOn()
			m.write(m.work+"/config.toml", m.config()+"[update]\nhealth = \""+m.systems+"/health.d\"\n")
		},
		command:  []string{"confirm", "--check"},
		steps:    []string{"judge/record", "judge/evidence"},
		switches: "judge/record",
		before:   outcome{boots: "1.0", root: "1.0"},
		after:    outcome{boots: "1.0", root: "1.0"},
		goesOn:   true,
		exit:     exitFailed,
		noted:    true,
	},
	{
		name: "collect",
		prepare: func(m *testMachine) {
			m.tbupdate("init")
			m.powerOn()
			m.tbupdate("apply", "--allow-unsigned", "update")
			m.powerOn()
			m.tbupdate("confirm")
			m.powerOn()
			m.write(m.work+"/config.toml", m.config()+"[update]\nkeep = 1\n")
		},
		command:  []string{"gc"},
		steps:    []string{"collect/previous", "collect/unstage", "collect/remove"},
		calls:    []string{"FS.Delete", "Boot.Remove", "FS.Delete", "FS.Delete"},
		switches: "collect/previous",
		before:   outcome{boots: "2.0", root: "2.0"},
		after:    outcome{boots: "2.0", root: "2.0"},
		goesOn:   true,
	},
	{
		name: "undo",
		prepare: func(m *testMachine) {
			m.tbupdate("init")
			m.powerOn()
			m.tbupdateKilled("apply/arm/intended", "apply", "--allow-unsigned", "update")
			m.powerOn()
		},
		command: []string{"recover"},
		steps: []string{"apply/disarm", "apply/clear", "apply/previous", "apply/current", "apply/root", "apply/park", "apply/set-default",
			"apply/unstage", "apply/remove"},
		calls:    []string{"FS.Delete", "FS.Delete", "FS.Snapshot", "FS.Exchange", "FS.Rename", "FS.SetDefault", "Boot.Remove", "FS.Delete", "FS.Delete"},
		switches: "apply/disarm",
		before:   outcome{boots: "1.0", root: "1.0"},
		after:    outcome{boots: "1.0", root: "1.0"},
		goesOn:   true,
	},
	{
		name: "repair",
		prepare: func(m *testMachine) {
			m.tbupdate("init")
			m.powerOn()
			m.withVolume(func(top string) {
				m.run("btrfs", "-q", "subvolume", "delete", top+"/snapshots/current")
				m.run("btrfs", "subvolume", "set-default", "5", top)
			})
		},
		command:  []string{"recover"},
		steps:    []string{"repair/previous", "repair/current", "repair/root", "repair/park", "repair/set-default"},
		calls:    []string{"FS.Snapshot", "FS.SetDefault"},
		switches: "repair/previous",
		before:   outcome{boots: "1.0", root: "1.0"},
		after:    outcome{boots: "1.0", root: "1.0"},
		goesOn:   true,
	},
}

// TestEveryOperation lets everything go wrong that can, at every place of every operation
// of the table, and looks at what is left each time: the machine boots the old pair or the
// new one, never anything else; what the command said of the machine is true; recover
// brings it to one of the two, and a second recover changes nothing; and the next update
// goes through.
func TestEveryOperation(t *testing.T) {
	plugins, faulty, systems := buildPlugins(t), buildFaultyPlugins(t), makeSystems(t)
	for _, c := range crashCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base := newMachine(t, plugins, systems)
			base.install(systems + "/v1")
			base.write(base.work+"/config.toml", base.config())
			c.prepare(base)
			base.close()
			t.Run("the program is killed", func(t *testing.T) { c.killedAtEveryStep(t, base) })
			t.Run("a signal comes", func(t *testing.T) { c.stoppedAtEveryStep(t, base) })
			t.Run("a plugin fails", func(t *testing.T) { c.everyCallFails(t, base) })
			t.Run("a plugin stops", func(t *testing.T) { c.everyCallStops(t, base, faulty) })
			t.Run("the journal fails", func(t *testing.T) { c.everyWritingFails(t, base) })
		})
	}
}

// killedAtEveryStep kills the program with SIGKILL at each step, and starts the machine as
// the boot loader would.
func (c crashCase) killedAtEveryStep(t *testing.T, base *testMachine) {
	seen := base.discoverSteps(t, c)
	if diff := cmp.Diff(c.steps, seen); diff != "" {
		t.Fatalf("the steps of the operation are not those of the table (-table +operation):\n%s", diff)
	}
	for _, step := range c.steps {
		for _, phase := range []string{"intended", "acted"} {
			t.Run(step+"/"+phase, func(t *testing.T) { c.killAt(t, base.clone(t), step, phase) })
		}
	}
}

// makeSystems writes the root filesystems v1 and v2, and the update between them.
func makeSystems(t *testing.T) string {
	t.Helper()
	systems := t.TempDir()
	makeSystem(t, systems+"/v1", "1.0", "6.1.0-1")
	makeSystem(t, systems+"/v2", "2.0", "6.1.0-2")
	for name, verdict := range map[string]string{"health.d/10-well": "exit 0", "health.d/20-ill": "echo it is ill; exit 1"} {
		path := filepath.Join(systems, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("#!/bin/sh\n"+verdict+"\n"), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeDelta(systems+"/update", systems+"/v1", systems+"/v2"); err != nil {
		t.Fatal(err)
	}
	return systems
}

// killAt runs the operation up to one step, kills it, and looks at what is left.
func (c crashCase) killAt(t *testing.T, m *testMachine, step, phase string) {
	m.tbupdateKilled(step+"/"+phase, c.command...)
	want := c.before
	switched := slices.Index(c.steps, step) > slices.Index(c.steps, c.switches) || step == c.switches && phase == "acted"
	if switched {
		want = c.after
	}
	if want.boots == "installed" {
		// The boot loader's default is the distribution's own entry still.
		c.againAfterInit(t, m)
		return
	}
	m.powerOn()
	if got := m.bootedVersion(); got != want.boots {
		t.Errorf("the machine boots %s, want %s", got, want.boots)
	}
	m.tbupdate("recover")
	m.checkWhole(want)
	layout := m.layout()
	m.tbupdate("recover")
	if diff := cmp.Diff(layout, m.layout()); diff != "" {
		t.Errorf("a second recover changed something (-first +second):\n%s", diff)
	}
	m.checkNextUpdate(want)
}

// againAfterInit repeats an init that was cut short.
func (c crashCase) againAfterInit(t *testing.T, m *testMachine) {
	if !strings.Contains(m.layout(), "@rootfs 1.0 rw") {
		t.Errorf("the installed system was changed:\n%s", m.layout())
	}
	m.tbupdate("init")
	m.powerOn()
	m.tbupdate("recover")
	m.checkWhole(c.after)
	m.checkNextUpdate(c.after)
}

// newMachine is a machine without disks yet.
func newMachine(t *testing.T, plugins, systems string) *testMachine {
	m := &testMachine{t: t, work: t.TempDir(), plugins: plugins, systems: systems}
	m.run("cp", systems+"/update", m.work)
	return m
}

// close releases the disks; their images stay until the test ends.
func (m *testMachine) close() {
	m.fs.Close(m.t)
	m.boot.Close(m.t)
}

// clone gives a machine with copies of the disks. This one must be closed.
func (m *testMachine) clone(t *testing.T) *testMachine {
	t.Helper()
	c := newMachine(t, m.plugins, m.systems)
	images := t.TempDir()
	c.run("cp", "--sparse=always", m.fs.Image, images+"/fs")
	c.run("cp", "--sparse=always", m.boot.Image, images+"/boot")
	c.run("cp", m.work+"/cmdline", c.work+"/cmdline")
	c.fs = loopback.Open(t, images+"/fs", loopback.Btrfs)
	c.boot = loopback.Open(t, images+"/boot", loopback.Ext4)
	extra := ""
	if content, err := os.ReadFile(m.work + "/config.toml"); err == nil {
		_, extra, _ = strings.Cut(string(content), "# end of machine\n")
	}
	c.write(c.work+"/config.toml", c.config()+extra)
	return c
}

// discoverSteps runs the operation on a copy and lists the steps that it takes.
func (m *testMachine) discoverSteps(t *testing.T, operation crashCase) []string {
	t.Helper()
	var steps []string
	r := m.clone(t).runHere(t.Context(), func(p *program) {
		p.observe = func(kind generation.OperationKind, step update.Step, phase update.Phase) {
			if phase == update.Intended {
				steps = append(steps, string(kind)+"/"+string(step))
			}
		}
	}, operation.command...)
	if r.code != operation.exit {
		t.Fatalf("exit code %d, want %d\n%s", r.code, operation.exit, r.stderr)
	}
	return steps
}

func (m *testMachine) flags(command []string) []string {
	return append([]string{"--config", m.work + "/config.toml", "--cmdline", m.work + "/cmdline"}, command...)
}

// program makes a command that runs this test program under one of the names that
// TestMain knows.
func (m *testMachine) program(name string, arguments ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	return &exec.Cmd{Path: self, Args: append([]string{name}, arguments...), Dir: m.work, Env: os.Environ()}
}

// tbupdate runs the program, which must succeed.
func (m *testMachine) tbupdate(command ...string) string {
	m.t.Helper()
	r := m.runHere(m.t.Context(), nil, command...)
	if r.code != exitDone {
		m.t.Fatalf("tbupdate %s: exit code %d\n%s%s", strings.Join(command, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// tbupdateKilled runs the program until it kills itself at KIND/STEP/PHASE.
func (m *testMachine) tbupdateKilled(at string, command ...string) {
	m.t.Helper()
	stopped := m.program("tbupdate-stopped", append([]string{"KILL", at}, m.flags(command)...)...)
	output, _ := stopped.CombinedOutput()
	status, ok := stopped.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		m.t.Fatalf("it was not killed at %s: %v\n%s", at, stopped.ProcessState, output)
	}
	m.waitForPlugins()
}

// bootedVersion gives the version of the root that cmdline pins.
func (m *testMachine) bootedVersion() string {
	m.t.Helper()
	commandLine, err := os.ReadFile(m.work + "/cmdline")
	if err != nil {
		m.t.Fatal(err)
	}
	_, id, pinned := strings.Cut(string(commandLine), "rootflags=subvolid=")
	if !pinned {
		m.t.Fatalf("no root is pinned: %s", commandLine)
	}
	root := m.fs.Mount(m.t, "subvolid="+strings.Fields(id)[0])
	defer m.fs.Unmount(m.t, root)
	content, err := os.ReadFile(root + "/usr/bin/program")
	if err != nil {
		m.t.Fatal(err)
	}
	version := strings.TrimSpace(strings.TrimPrefix(string(content), "program of version "))
	m.checkKernel(root, string(commandLine))
	return version
}

// checkKernel makes sure that the kernel that is booted is the one of the root, and
// that the root has its modules.
func (m *testMachine) checkKernel(root, commandLine string) {
	m.t.Helper()
	kernels, err := filepath.Glob(root + "/boot/vmlinuz-*")
	if err != nil || len(kernels) != 1 {
		m.t.Fatalf("the root has the kernels %v, %v", kernels, err)
	}
	want, err := os.ReadFile(kernels[0])
	if err != nil {
		m.t.Fatal(err)
	}
	image, _ := strings.CutPrefix(strings.Fields(commandLine)[0], "BOOT_IMAGE=")
	m.withBoot(func(top string) {
		got, err := os.ReadFile(filepath.Join(top, image))
		if err != nil || !bytes.Equal(got, want) {
			m.t.Errorf("the kernel %s is not that of the root: %v", image, err)
		}
	})
	release := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	if _, err := os.Stat(root + "/usr/lib/modules/" + release); err != nil {
		m.t.Errorf("the root lacks its modules: %v", err)
	}
}

// checkWhole compares the machine with what it must be after recover.
func (m *testMachine) checkWhole(want outcome) {
	m.t.Helper()
	var status struct {
		State, Booted, Default, Trial string
		Generations                   []struct {
			ID, Version, State string
			Roles              []string
		}
	}
	if err := json.Unmarshal([]byte(m.tbupdate("--json", "status")), &status); err != nil {
		m.t.Fatal(err)
	}
	layout := m.layout()
	for _, line := range []string{"snapshots/root " + want.root + " rw default\n", "snapshots/current " + want.root + " ro\n"} {
		if !strings.Contains(layout, line) {
			m.t.Errorf("the layout lacks %q:\n%s", line, layout)
		}
	}
	if strings.Contains(layout, "snapshots/new ") {
		m.t.Errorf("the work place was left:\n%s", layout)
	}
	if want.trial != (status.Trial != "") || want.trial != (status.State == "trial") || !want.trial && status.State != "idle" {
		m.t.Errorf("the state is %q with the trial %q; on trial should be %v", status.State, status.Trial, want.trial)
	}
	for _, g := range status.Generations {
		if slices.Contains(g.Roles, "root") && g.ID != status.Booted {
			m.t.Errorf("root is generation %s and booted was %s", g.ID, status.Booted)
		}
	}
}

// checkNextUpdate makes sure that the machine can be updated again.
func (m *testMachine) checkNextUpdate(want outcome) {
	m.t.Helper()
	if want.trial {
		m.tbupdate("confirm")
		m.powerOn()
		m.tbupdate("rollback")
		m.powerOn()
		return
	}
	if want.root != "1.0" {
		return
	}
	// What fell back is known to have failed.
	m.tbupdate("apply", "--force", "--allow-unsigned", "update")
	m.powerOn()
	m.tbupdate("confirm")
	if !strings.Contains(m.layout(), "snapshots/root 2.0 rw default\n") {
		m.t.Errorf("the next update did not lead to 2.0:\n%s", m.layout())
	}
}
