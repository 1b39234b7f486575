//go:build full

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/envimage"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/uboottest"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// These tests start what the plugin wrote in a U-Boot that counts by itself.

// countedBy makes a machine with such a U-Boot, and the settings for it.
func countedBy(t *testing.T, environment string) (*machine, map[string]string) {
	t.Helper()
	m := newMachine(t, methodExtlinux)
	m.counting = uboottest.NewCounting(t, environment, m.state)
	config := filepath.Join(t.TempDir(), "fw_env.config")
	var lines strings.Builder
	for _, path := range m.counting.Copies {
		fmt.Fprintf(&lines, "%s 0x0 %#x\n", path, uboottest.EnvironmentSize)
	}
	m.must(os.WriteFile(config, []byte(lines.String()), 0o600))
	return m, map[string]string{
		keyCounter: counterBoard, keyEnvConfig: config, keyRedundant: fmt.Sprint(environment == "redundant"), keyState: "", keyStatePartition: "",
	}
}

// installed is a plugin with the default a1 and another entry.
func (m *machine) installed(t *testing.T, settings map[string]string) *bootdir.Plugin {
	t.Helper()
	p := m.openWith(t, settings)
	for _, id := range []string{"a1", "b2"} {
		_, err := p.Install(t.Context(), m.entry(t, id))
		m.must(err)
	}
	m.must(p.SetDefault(t.Context(), "a1"))
	m.wantBoot("a1")
	return p
}

// A life of updates, each step as U-Boot sees it and as it counts.
func TestUBootCounts(t *testing.T) {
	for _, environment := range []string{"fat", "redundant"} {
		t.Run(environment, func(t *testing.T) {
			m, settings := countedBy(t, environment)
			p := m.installed(t, settings)

			m.must(p.Arm(t.Context(), "b2", 2))
			m.wantState(p, "a1", "b2", 2)
			m.wantBoot("trial b2")
			m.wantState(p, "a1", "b2", 1)
			m.wantBoot("trial b2")
			m.wantState(p, "a1", "", 0)
			for range 2 { // beyond the limit, and once more
				m.wantBoot("a1")
				m.wantState(p, "a1", "", 0)
			}
			m.must(p.Disarm(t.Context()))
			m.wantBoot("a1")

			m.must(p.Arm(t.Context(), "b2", 1))
			m.must(p.Disarm(t.Context()))
			m.wantBoot("a1")

			m.must(p.Arm(t.Context(), "b2", 1))
			m.wantBoot("trial b2")
			m.must(p.SetDefault(t.Context(), "b2"))
			for range 2 {
				m.wantBoot("b2")
			}
			// U-Boot writes its environment at every start while an update is available.
			if got := printVariable(t, settings, chooser.VariableAvailable); got != "0" {
				t.Errorf("after SetDefault upgrade_available is %q", got)
			}
		})
	}
}

// The same in flash, which U-Boot takes half a minute to write here.
func TestUBootCountsInFlash(t *testing.T) {
	m, settings := countedBy(t, "flash")
	p := m.installed(t, settings)
	m.must(p.Arm(t.Context(), "b2", 1))
	m.wantBoot("trial b2")
	m.wantState(p, "a1", "", 0)
	m.wantBoot("a1")
	m.must(p.Disarm(t.Context()))
	m.wantBoot("a1")
}

// An environment that is lost while a trial is armed takes the trial with it: the
// default boots.
func TestLostEnvironment(t *testing.T) {
	for environment, lose := range map[string]func(data []byte){
		"flash": func(data []byte) { copy(data, bytes.Repeat([]byte{0xff}, uboottest.EnvironmentSize)) }, // erased
		"fat":   func(data []byte) { copy(data[1000:], make([]byte, 4096)) },                             // half of a write
	} {
		t.Run(environment, func(t *testing.T) {
			m, settings := countedBy(t, environment)
			p := m.installed(t, settings)
			m.must(p.Arm(t.Context(), "b2", 1))
			data, err := os.ReadFile(m.counting.Copies[0])
			m.must(err)
			lose(data)
			m.must(os.WriteFile(m.counting.Copies[0], data, 0o600))
			for range 2 {
				m.wantBoot("a1")
			}
		})
	}
}

// Power is cut while U-Boot notes the start of a trial in flash, which it has erased
// for that.
func TestPowerCutWhileUBootCounts(t *testing.T) {
	m, settings := countedBy(t, "flash")
	p := m.installed(t, settings)
	m.must(p.Arm(t.Context(), "b2", 1))
	m.uboot.CutPower("Erased", m.counting.Arguments...)
	data, err := os.ReadFile(m.counting.Copies[0])
	m.must(err)
	if e, err := envimage.Parse(data[:uboottest.EnvironmentSize], envimage.Layout{}); err == nil {
		t.Fatalf("the environment is whole, with bootcount %q: power was cut too late", e.Get(chooser.VariableCount))
	}
	m.wantBoot("a1")
}

// Of two copies of the environment one may be torn: the other is the last state.
func TestRedundantEnvironment(t *testing.T) {
	m, settings := countedBy(t, "redundant")
	p := m.installed(t, settings)
	m.must(p.Arm(t.Context(), "b2", 1))
	m.wantBoot("trial b2")
	for _, path := range m.counting.Copies {
		data, err := os.ReadFile(path)
		m.must(err)
		e, err := envimage.Parse(data, envimage.Layout{Flags: true})
		m.must(err)
		if e.Get(chooser.VariableCount) == "1" { // U-Boot wrote it
			data[1000] ^= 1
			m.must(os.WriteFile(path, data, 0o600))
		}
	}
	m.wantState(p, "a1", "b2", 1)
	m.wantBoot("trial b2") // as if it had not begun
	m.wantBoot("a1")
}
