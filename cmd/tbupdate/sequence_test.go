package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trebuchet-update/tbupdate/core/update"
)

// machineStatus is what the tests read from "status --json".
type machineStatus struct {
	State, Booted, Default, Trial string
	Generations                   []struct {
		ID, Version, State string
		Roles              []string
		Present            bool
	}
}

func (m *testMachine) status() (s machineStatus) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.tbupdate("--json", "status")), &s); err != nil {
		m.t.Fatal(err)
	}
	return s
}

// entries lists the kernel sets in /boot.
func (m *testMachine) entries() (ids []string) {
	m.t.Helper()
	m.withBoot(func(top string) {
		found, err := filepath.Glob(top + "/tbupdate/*/boot.cfg")
		if err != nil {
			m.t.Fatal(err)
		}
		for _, path := range found {
			ids = append(ids, filepath.Base(filepath.Dir(path)))
		}
	})
	return ids
}

// checkInstalled makes sure that what runs and what it falls back on are installed
// whole, that no generation has a kernel set without trees or trees without a kernel
// set, and that no more are there than the configuration keeps.
func (m *testMachine) checkInstalled(keep int) {
	m.t.Helper()
	status, layout, entries := m.status(), m.layout(), m.entries()
	good, failed := 0, 0
	for _, g := range status.Generations {
		has := strings.Contains(layout, "snapshots/"+g.ID+" "+g.Version+" ro\n")
		if g.Present != has || g.Present != slices.Contains(entries, g.ID) {
			m.t.Errorf("generation %s (%s): present %v, tree %v, kernel set %v", g.ID, g.Version, g.Present, has, slices.Contains(entries, g.ID))
		}
		if !g.Present {
			if g.ID == status.Booted || g.ID == status.Default || len(g.Roles) > 0 {
				m.t.Errorf("generation %s (%s, %v) is gone", g.ID, g.Version, g.Roles)
			}
			continue
		}
		switch g.State {
		case "good":
			good++
		case "failed":
			failed++
		}
	}
	if good > keep || failed > 1 || len(entries) > keep+2 {
		m.t.Errorf("%d good and %d failed generations and %d kernel sets are there, with keep = %d\n%s", good, failed, len(entries), keep, layout)
	}
}

// TestManyUpdates runs updates in a row, some of which fail or are rolled back: the
// pair that runs and the one that it falls back on are always there, and neither the
// volume nor /boot fills up.
func TestManyUpdates(t *testing.T) {
	plugins, systems := buildPlugins(t), t.TempDir()
	const versions = 7
	for v := 1; v <= versions; v++ {
		makeSystem(t, fmt.Sprintf("%s/%d.0", systems, v), fmt.Sprintf("%d.0", v), fmt.Sprintf("6.1.0-%d", v))
	}
	delta := func(from, to string) string { return systems + "/" + from + "-" + to }
	for from := 1; from <= versions; from++ {
		for to := 1; to <= versions; to++ {
			a, b := fmt.Sprintf("%d.0", from), fmt.Sprintf("%d.0", to)
			if err := writeDelta(delta(a, b), systems+"/"+a, systems+"/"+b); err != nil {
				t.Fatal(err)
			}
		}
	}
	for keep := 1; keep <= 3; keep++ {
		t.Run(fmt.Sprintf("keep %d", keep), func(t *testing.T) {
			t.Parallel()
			m := &testMachine{t: t, work: t.TempDir(), plugins: plugins, systems: systems}
			m.install(systems + "/1.0")
			m.write(m.work+"/config.toml", m.config()+fmt.Sprintf("[update]\nkeep = %d\n", keep))
			m.tbupdate("init")
			m.powerOn()
			runs := "1.0"
			apply := func(version string) {
				m.tbupdate("apply", "--force", "--allow-unsigned", delta(runs, version))
				m.checkInstalled(keep + 1) // what is kept, and the trial's way back
			}
			for v := 2; v <= versions; v++ {
				version := fmt.Sprintf("%d.0", v)
				// It does not come up at first; twice in a row.
				for range 2 {
					if !thorough && v%2 == 0 {
						break
					}
					apply(version)
					m.powerOn()
					m.powerOn()
					m.tbupdate("recover")
					m.checkInstalled(keep + 1)
				}
				// It comes up, and is given up by hand.
				apply(version)
				m.powerOn()
				m.tbupdate("recover")
				m.tbupdate("rollback")
				m.checkInstalled(keep + 1)
				if r := m.runHere(t.Context(), nil, "apply", "--allow-unsigned", delta(runs, version)); r.code != exitFailed || !strings.Contains(r.stderr, "reboot first") {
					t.Errorf("an update while the given up trial runs: exit code %d\n%s", r.code, r.stderr)
				}
				m.powerOn()
				m.tbupdate("recover")
				if got := m.bootedVersion(); got != runs {
					t.Fatalf("it runs %s, want %s", got, runs)
				}
				// It works; then, without a reboot, back, forth and the next one.
				apply(version)
				m.powerOn()
				m.tbupdate("recover")
				m.tbupdate("confirm")
				m.checkInstalled(keep)
				before := runs
				runs = version
				if keep > 1 {
					m.tbupdate("rollback")
					m.powerOn()
					if got := m.bootedVersion(); got != before {
						t.Fatalf("after the roll-back it runs %s, want %s", got, before)
					}
					m.tbupdate("recover")
					m.tbupdate("rollback")
					m.powerOn()
					m.tbupdate("recover")
				}
				if got := m.bootedVersion(); got != runs {
					t.Fatalf("it runs %s, want %s", got, runs)
				}
				m.tbupdate("gc")
				m.checkInstalled(keep)
			}
		})
	}
}

// TestNearlyFull applies an update with less and less room left, on the volume and
// in /boot: it goes through, or is refused or undone for want of room, and then the
// machine is as before.
func TestNearlyFull(t *testing.T) {
	plugins, systems := buildPlugins(t), makeSystems(t)
	if err := os.WriteFile(systems+"/v2/usr/share/large", slices.Repeat([]byte("0123456789abcdef"), 2<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeDelta(systems+"/update", systems+"/v1", systems+"/v2"); err != nil {
		t.Fatal(err)
	}
	base := newMachine(t, plugins, systems)
	base.volumeSize, base.bootSize = 256<<20, 16<<20
	base.install(systems + "/v1")
	base.write(base.work+"/config.toml", base.config())
	base.tbupdate("init")
	base.powerOn()
	base.close()
	for _, disk := range []string{"volume", "boot"} {
		for step := range 11 {
			if !thorough && step%3 != 0 {
				continue
			}
			leave := uint64(step) * 6 << 20
			if disk == "boot" {
				leave = uint64(step) * 120_000
			}
			for _, source := range []string{"file", "pipe"} {
				t.Run(fmt.Sprintf("%s/%d/%s", disk, leave, source), func(t *testing.T) {
					m := base.clone(t)
					if disk == "boot" {
						m.withBoot(func(top string) { m.fill(top, leave) })
					} else {
						m.withVolume(func(top string) { m.fill(top, leave) })
					}
					m.applyWithLittleRoom(source)
				})
			}
		}
	}
}

// applyWithLittleRoom applies the update as a file, whose size is known beforehand,
// or through a pipe.
func (m *testMachine) applyWithLittleRoom(source string) {
	m.t.Helper()
	before := m.layout()
	argument := m.work + "/update"
	if source == "pipe" {
		argument = "-"
	}
	r := m.runHere(m.t.Context(), func(p *program) { p.stdin = m.open(m.work + "/update") }, "apply", "--allow-unsigned", argument)
	m.t.Logf("exit code %d\n%s", r.code, r.stderr)
	switch r.code {
	case exitDone:
		m.powerOn()
		m.tbupdate("confirm")
		m.checkWhole(outcome{root: "2.0"})
		return
	case int(update.NoRoom):
	default:
		m.t.Errorf("exit code %d, want 0 or %d", r.code, update.NoRoom)
	}
	if layout := m.layout(); layout != before {
		m.t.Errorf("it is not as before:\n%s", layout)
	}
	if said := m.tbupdate("recover"); !strings.Contains(said, "Everything is in order") {
		m.t.Errorf("there was something to recover: %s", said)
	}
}

func (m *testMachine) open(path string) *os.File {
	m.t.Helper()
	f, err := os.Open(path)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { f.Close() })
	return f
}

// TestReadersDuringAnUpdate asks for status, history and findings while updates,
// roll-backs and removals run: the answers are whole, and the others find the door
// closed.
func TestReadersDuringAnUpdate(t *testing.T) {
	plugins, systems := buildPlugins(t), makeSystems(t)
	m := newMachine(t, plugins, systems)
	m.install(systems + "/v1")
	m.write(m.work+"/config.toml", m.config())
	m.tbupdate("init")
	m.powerOn()

	rounds := 2
	if thorough {
		rounds = 10
	}
	over := make(chan struct{})
	var wait sync.WaitGroup
	for _, command := range []string{"status", "history", "check"} {
		wait.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(10 * time.Millisecond):
				}
				r := m.runHere(t.Context(), nil, "--json", command)
				var object map[string]any
				if err := json.Unmarshal([]byte(r.stdout), &object); err != nil {
					t.Errorf("%s: %v\n%s", command, err, r.stdout)
				}
				if r.code != exitDone && !(command == "check" && r.code == exitFailed && object["findings"] != nil) {
					t.Errorf("%s: exit code %d\n%s", command, r.code, r.stderr)
				}
			}
		})
	}
	for range rounds {
		codes := make(chan ran, 3)
		for _, command := range [][]string{{"apply", "--allow-unsigned", "update"}, {"apply", "--allow-unsigned", "update"}, {"gc"}} {
			go func() { codes <- m.runHere(t.Context(), nil, command...) }()
		}
		applied := 0
		for range 3 {
			switch r := <-codes; {
			case r.code == exitDone && strings.Contains(r.stdout, "armed"):
				applied++
			case r.code == exitDone, r.code == int(update.InProgress), r.code == exitFailed && strings.Contains(r.stderr, "is armed for a trial"):
			default:
				t.Errorf("exit code %d\n%s", r.code, r.stderr)
			}
		}
		if applied > 1 {
			t.Errorf("%d updates were armed at the same time", applied)
		}
		if applied == 1 {
			m.tbupdate("rollback")
		}
	}
	close(over)
	wait.Wait()
	m.checkInstalled(3)
}
