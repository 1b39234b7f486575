package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trebuchet-update/tbupdate/core/pluginhost"
	"github.com/trebuchet-update/tbupdate/core/update"
)

// buildFaultyPlugins builds the plugin programs with faultyFS and faultyBoot around what
// they serve. The rest of them is what it is in the real ones.
func buildFaultyPlugins(t testing.TB) string {
	t.Helper()
	replace := map[string]string{}
	for _, source := range pluginSources {
		for file, by := range map[string]string{
			"main.go":  "testdata/faulty/" + filepath.Base(source) + ".go",
			"fault.go": "testdata/faulty/fault.go",
			"calls.go": "calls_test.go",
		} {
			target := absolute(t, filepath.Join(source, file))
			if _, err := os.Stat(target); file != "main.go" && !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("%s is a file of the real plugin: %v", target, err)
			}
			replace[target] = absolute(t, by)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/overlay.json"
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return buildPlugins(t, "-overlay", file)
}

func absolute(t testing.TB, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// takePlugins gives the machine plugin programs of its own, so that it can have a fault
// of its own.
func (m *testMachine) takePlugins(from string) {
	m.t.Helper()
	directory := m.t.TempDir()
	for program := range pluginSources {
		if err := os.Link(filepath.Join(from, program), filepath.Join(directory, program)); err != nil {
			m.t.Fatal(err)
		}
	}
	settings, err := os.ReadFile(m.work + "/config.toml")
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(m.work+"/config.toml", strings.Replace(string(settings), m.plugins, directory, 1))
	m.plugins = directory
}

// pluginProcesses lists the processes that run a plugin program of this machine, which
// has its own: the program by process id.
func (m *testMachine) pluginProcesses() map[int]string {
	m.t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		m.t.Fatal(err)
	}
	processes := map[int]string{}
	for _, file := range names {
		name, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(name), m.plugins+"/") {
			continue // it ended meanwhile, or is another
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			m.t.Fatal(err)
		}
		processes[pid] = filepath.Base(strings.TrimRight(string(name), "\x00"))
	}
	return processes
}

// impatient are limits that a plugin which hangs exceeds soon, and no other.
var impatient = pluginhost.Limits{Read: 4 * time.Second, ReadGrace: 100 * time.Millisecond, Change: 4 * time.Second, ChangeGrace: 100 * time.Millisecond, Stop: time.Second}

// everyCallStops lets the process of a plugin hang or be killed at each changing call:
// before the call did anything, and between its work and its answer. So do calls that change
// nothing. The fault is in the programs in faulty.
func (c crashCase) everyCallStops(t *testing.T, base *testMachine, faulty string) {
	for i, call := range c.calls {
		for _, mode := range []faultMode{hangsBefore, hangsAfter, killedBefore, killedAfter} {
			if !thorough && !sampled(call, mode) {
				continue
			}
			t.Run(fmt.Sprintf("%02d %s/%s", i+1, call, mode), func(t *testing.T) {
				m := base.clone(t)
				m.takePlugins(faulty)
				c.strikeAt(t, m, faultAt(mode, c.calls, i))
			})
		}
	}
	if !thorough {
		return // TestReadingCallStops has some
	}
	none := &fault{}
	base.clone(t).withFault(none, c.command...)
	for i, call := range none.reads {
		for _, mode := range []faultMode{hangsBefore, killedBefore} {
			t.Run(fmt.Sprintf("read %02d %s/%s", i+1, call, mode), func(t *testing.T) {
				m := base.clone(t)
				m.takePlugins(faulty)
				f := &fault{mode: mode, call: call}
				for _, begin := range none.begins {
					if begin <= i {
						f.process, f.n = f.process+1, count(none.reads[begin:i+1], call)
					}
				}
				f.process--
				c.strikeAt(t, m, f)
			})
		}
	}
}

// sampled reports whether a mode is tried at a call in the short run: what changes what
// boots next is killed, and a call of either kind hangs.
func sampled(call string, mode faultMode) bool {
	switch mode {
	case hangsAfter:
		return call == "Boot.Arm"
	case hangsBefore:
		return call == "FS.Seal"
	case killedAfter:
		return isSwitch(call)
	default:
		return call == "Boot.Install" || call == "FS.Exchange"
	}
}

// strikeAt runs the operation with plugins one of which hangs or is killed, and looks at
// what is left.
func (c crashCase) strikeAt(t *testing.T, m *testMachine, f *fault) {
	layout := m.layout()
	r := m.runStruck(f, c.command...)
	what := "died in "
	if slices.Contains([]faultMode{hangsBefore, hangsAfter}, f.mode) {
		what = "hangs in "
	}
	if !strings.Contains(r.stderr, what+f.call) {
		t.Errorf("it does not say that a plugin %s%s:\n%s", what, f.call, r.stderr)
	}
	c.judge(t, m, layout, r)
}

// leaveFault leaves the fault for the plugin that has the call, and gives the file, which
// is gone once the fault has happened.
func (m *testMachine) leaveFault(f *fault) string {
	m.t.Helper()
	program := filepath.Join(m.plugins, "tbupdate-fs-btrfs")
	if strings.HasPrefix(f.call, "Boot.") {
		program = filepath.Join(m.plugins, "tbupdate-boot-extboot")
	}
	if err := f.write(program); err != nil {
		m.t.Fatal(err)
	}
	return faultFile(program)
}

// runStruck runs a command with the fault in the process of a plugin, which it must not
// leave behind.
func (m *testMachine) runStruck(f *fault, command ...string) ran {
	m.t.Helper()
	file := m.leaveFault(f)
	r := m.runHere(m.t.Context(), func(p *program) { p.limits = impatient }, command...)
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		m.t.Fatalf("the plugin was not struck: %v\n%s", err, r.stderr)
	}
	if left := m.pluginProcesses(); len(left) > 0 {
		m.t.Errorf("plugins were left running: %v", left)
	}
	return r
}

// TestReadingCallStops lets calls stop that are needed to judge the machine: it is the
// plugin that is complained of, and not the machine, and recover is asked for only where
// recover is of use.
func TestReadingCallStops(t *testing.T) {
	t.Parallel()
	faulty := buildFaultyPlugins(t)
	base := newMachine(t, faulty, makeSystems(t))
	base.install(base.systems + "/v1")
	base.write(base.work+"/config.toml", base.config())
	base.tbupdate("init")
	base.powerOn()
	base.close()
	for _, test := range []struct {
		command []string
		call    string
		code    update.Class
		state   string
	}{
		{[]string{"check"}, "FS.Booted", update.BadPlugin, "Nothing was changed."},
		{[]string{"status"}, "FS.Booted", update.BadPlugin, "Nothing was changed."},
		{[]string{"apply", "--allow-unsigned", "update"}, "FS.Booted", update.BadPlugin, "Nothing was changed."},
		{[]string{"apply", "--allow-unsigned", "update"}, "FS.Lookup", update.BadPlugin, "Nothing was changed."},
		{[]string{"recover"}, "FS.Lookup", update.Unclear, `run "tbupdate recover"`},
		{[]string{"recover"}, "Boot.State", update.Unclear, `run "tbupdate recover"`},
	} {
		t.Run(test.command[0]+" "+test.call, func(t *testing.T) {
			m := base.clone(t)
			m.takePlugins(faulty)
			r := m.runStruck(&fault{mode: killedBefore, call: test.call, n: 1}, test.command...)
			if update.Class(r.code) != test.code || !strings.Contains(r.stderr, test.state) || strings.Count(r.stderr, "tbupdate recover") > strings.Count(test.state, "tbupdate recover") {
				t.Errorf("exit code %d, want %d and %q\n%s%s", r.code, test.code, test.state, r.stdout, r.stderr)
			}
			m.tbupdate("recover") // what the plugin left mounted goes with it
		})
	}
}

// hangingApply is a machine on which apply will hang in the call that arms the new generation.
func hangingApply(t *testing.T) (*testMachine, crashCase) {
	t.Helper()
	faulty := buildFaultyPlugins(t)
	m := newMachine(t, faulty, makeSystems(t))
	m.install(m.systems + "/v1")
	m.write(m.work+"/config.toml", m.config())
	apply := crashCases[slices.IndexFunc(crashCases, func(c crashCase) bool { return c.name == "apply" })]
	apply.prepare(m)
	m.takePlugins(faulty)
	m.leaveFault(&fault{mode: hangsBefore, call: "Boot.Arm", n: 1})
	return m, apply
}

// TestCallGoesOn lets a plugin go on with a call that was given up as hanging. Until that
// plugin is gone nobody else may change the machine: recover would undo the update, and
// the call arm what is not there any more.
func TestCallGoesOn(t *testing.T) {
	t.Parallel()
	m, apply := hangingApply(t)
	limits := impatient
	limits.Stop = time.Minute
	applied := make(chan ran, 1)
	go func() {
		applied <- m.runHere(t.Context(), func(p *program) { p.limits = limits }, apply.command...)
	}()
	hung := m.awaitStopped()
	for givenUp := time.Now().Add(2 * (limits.Change + limits.ChangeGrace)); time.Now().Before(givenUp); time.Sleep(500 * time.Millisecond) {
		if r := m.runHere(t.Context(), nil, "recover"); update.Class(r.code) != update.InProgress {
			t.Errorf("another command while the plugin of an update hangs: exit code %d, want %d\n%s%s", r.code, update.InProgress, r.stdout, r.stderr)
			break
		}
	}
	if err := syscall.Kill(hung, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if r := <-applied; update.Class(r.code) != update.Unclear {
		t.Errorf("exit code %d, want %d\n%s", r.code, update.Unclear, r.stderr)
	}
	apply.settle(t, m)
}

// TestProgramKilledInCall kills the program while a plugin is in a call, which the plugin
// ends nevertheless. Until then nobody else may change the machine either.
func TestProgramKilledInCall(t *testing.T) {
	t.Parallel()
	m, apply := hangingApply(t)
	program := m.program("tbupdate", m.flags(apply.command)...)
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	hung := m.awaitStopped()
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = program.Wait() // killed, always an error
	r := m.runHere(t.Context(), nil, "recover")
	if update.Class(r.code) != update.InProgress || !strings.Contains(r.stderr, "is not done yet") {
		t.Errorf("recover while the plugin of an update that was killed is at work: exit code %d, want %d\n%s%s", r.code, update.InProgress, r.stdout, r.stderr)
	}
	m.tbupdate("status")
	if err := syscall.Kill(hung, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	m.waitForPlugins()
	apply.settle(t, m)
}

// awaitStopped waits until a plugin is stopped by a signal, and gives its process id.
func (m *testMachine) awaitStopped() int {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if pid := m.stoppedProcess(); pid != 0 {
			return pid
		}
	}
	m.t.Fatal("no plugin hangs")
	return 0
}

// stoppedProcess gives the process id of a plugin that is stopped by a signal, 0 for none.
func (m *testMachine) stoppedProcess() int {
	for pid := range m.pluginProcesses() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // proc_pid_stat(5)
		if err == nil && strings.Contains(string(stat), ") T ") {
			return pid
		}
	}
	return 0
}
