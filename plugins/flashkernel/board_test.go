package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/envimage"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/conformance"
)

// board makes a file that stands for the flash partition with U-Boot's environment,
// and a configuration of fw_setenv for it.
func (m *machine) board(t testing.TB, variables string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	image, config := filepath.Join(dir, "environment"), filepath.Join(dir, "fw_env.config")
	var e envimage.Environment
	for line := range strings.Lines(variables) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		e.Set(name, value)
	}
	data, err := e.Bytes(0x4000, envimage.Layout{})
	m.must(err)
	m.must(os.WriteFile(image, data, 0o600))
	m.must(os.WriteFile(config, []byte(image+" 0x0 0x4000\n"), 0o600))
	return map[string]string{keyCounter: counterBoard, keyEnvConfig: config, keyState: "", keyStatePartition: ""}
}

const boardVariables = "bootcmd=run distro_bootcmd\naltbootcmd=run bootcmd\nbootlimit=1\n"

func TestConformanceOfBoard(t *testing.T) {
	conformance.Boot(t, func(t *testing.T) conformance.BootTarget {
		m := newMachine(t, methodExtlinux)
		target := m.target()
		for name, value := range m.board(t, boardVariables) {
			if target.Settings[name] = value; value == "" {
				delete(target.Settings, name)
			}
		}
		target.Start = nil // the U-Boot of the test does not count
		return target
	})
}

// U-Boot's own environment says what the plugin's state says, in U-Boot's names, and
// the rest of it stays.
func TestBoardVariables(t *testing.T) {
	m := newMachine(t, methodExtlinux)
	settings := m.board(t, boardVariables)
	p := m.openWith(t, settings)
	for _, id := range []string{"a1", "b2"} {
		_, err := p.Install(t.Context(), m.entry(t, id))
		m.must(err)
	}
	m.must(p.SetDefault(t.Context(), "a1"))
	m.must(p.Arm(t.Context(), "b2", 3))
	want := map[string]string{
		"upgrade_available": "1", "bootcount": "0", "bootlimit": "3", "tbupdate_trial": "b2", "altbootcmd": "run bootcmd",
	}
	for name, value := range want {
		if got := printVariable(t, settings, name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	// What U-Boot does at two starts.
	setVariable(t, settings, "bootcount", "2")
	m.wantState(p, "a1", "b2", 1)
	setVariable(t, settings, "bootcount", "4") // beyond the limit it runs altbootcmd
	m.wantState(p, "a1", "", 0)
	m.must(p.Disarm(t.Context()))
	if got := printVariable(t, settings, chooser.VariableAvailable); got != "0" {
		t.Errorf("after Disarm upgrade_available is %q", got)
	}
	// The script goes by the variables of U-Boot, which has none here.
	m.wantBoot("a1")
}

func printVariable(t *testing.T, settings map[string]string, name string) string {
	t.Helper()
	output, err := exec.Command("fw_printenv", "-c", settings[keyEnvConfig], "-n", name).Output()
	if err != nil {
		t.Fatalf("fw_printenv %s: %v", name, err)
	}
	return strings.TrimSuffix(string(output), "\n")
}

func setVariable(t *testing.T, settings map[string]string, name, value string) {
	t.Helper()
	if output, err := exec.Command("fw_setenv", "-c", settings[keyEnvConfig], name, value).CombinedOutput(); err != nil {
		t.Fatalf("fw_setenv %s: %v\n%s", name, err, output)
	}
}

// Without altbootcmd U-Boot would stop beyond the limit: no trial begins without it, and
// what the board has there stays.
func TestBoardHasAWayBack(t *testing.T) {
	for variables, want := range map[string]string{
		"bootcmd=run distro_bootcmd\n":                        "run bootcmd",
		"bootcmd=run distro_bootcmd\naltbootcmd=run rescue\n": "run rescue",
	} {
		m := newMachine(t, methodExtlinux)
		settings := m.board(t, variables)
		p := m.openWith(t, settings)
		_, err := p.Install(t.Context(), m.entry(t, "a1"))
		m.must(err)
		m.must(p.Arm(t.Context(), "a1", 1))
		if got := printVariable(t, settings, variableAlternative); got != want {
			t.Errorf("altbootcmd is %q after %q, want %q", got, variables, want)
		}
	}
}

// An environment that cannot be written arms nothing.
func TestBoardUnwritable(t *testing.T) {
	m := newMachine(t, methodExtlinux)
	settings := m.board(t, boardVariables)
	p := m.openWith(t, settings)
	_, err := p.Install(t.Context(), m.entry(t, "a1"))
	m.must(err)
	m.must(os.WriteFile(settings[keyEnvConfig], []byte("/nowhere 0x0 0x4000\n"), 0o600))
	if err := p.Arm(t.Context(), "a1", 1); err == nil {
		t.Error("armed")
	}
}

// findings are those that a plugin has, one a line.
func (m *machine) findings(t *testing.T, change map[string]string) string {
	t.Helper()
	found, err := m.openWith(t, change).Check(t.Context())
	m.must(err)
	var lines []string
	for _, f := range found {
		if f.Remedy == "" {
			t.Errorf("no remedy for %+v", f)
		}
		lines = append(lines, string(f.Severity)+" "+f.Subject+": "+f.Problem)
	}
	return strings.Join(lines, "\n")
}

func TestFindings(t *testing.T) {
	installed := func(t *testing.T, m *machine) {
		t.Helper()
		p := m.openWith(t, nil)
		_, err := p.Install(t.Context(), m.entry(t, "a1"))
		m.must(err)
		m.must(p.SetDefault(t.Context(), "a1"))
	}
	for name, test := range map[string]struct {
		method string
		change func(t *testing.T, m *machine) map[string]string // gives settings
		want   string                                           // "" for no finding of that kind
		not    string
	}{
		"nothing installed":           {methodFlashKernel, func(*testing.T, *machine) map[string]string { return nil }, "blocking boot entry \"boot.scr\": it does not pin its root", "chooser"},
		"nothing installed, extlinux": {methodExtlinux, func(*testing.T, *machine) map[string]string { return nil }, "boot entry \"extlinux/extlinux.conf\": it does not pin its root, so after an update it boots its own kernel with whatever root is the newest: root=LABEL=x", "chooser"},
		"installed":                   {methodFlashKernel, func(t *testing.T, m *machine) map[string]string { installed(t, m); return nil }, "", "boot.scr"},
		"script replaced": {methodFlashKernel, func(t *testing.T, m *machine) map[string]string {
			installed(t, m)
			m.must(os.Truncate(filepath.Join(m.boot, bootScript), 0))
			return nil
		}, "blocking boot.scr: boot.scr is damaged", ""},
		"extlinux.conf beside flash-kernel": {methodFlashKernel, func(t *testing.T, m *machine) map[string]string {
			m.must(os.Mkdir(filepath.Join(m.boot, "extlinux"), 0o755))
			m.must(os.WriteFile(filepath.Join(m.boot, extlinuxPath), []byte("x"), 0o644))
			return nil
		}, "blocking extlinux/extlinux.conf: U-Boot takes extlinux/extlinux.conf before boot.scr", ""},
		"extlinux.conf to be taken over": {methodExtlinux, func(*testing.T, *machine) map[string]string { return nil }, "", "blocking extlinux/extlinux.conf"},
		"extlinux.conf with overlays": {methodExtlinux, func(t *testing.T, m *machine) map[string]string {
			m.must(os.WriteFile(filepath.Join(m.boot, extlinuxPath), []byte("label a\nkernel /foreign\nfdtoverlays /o.dtbo\n"), 0o644))
			before := conformance.Contents(t, m.boot)
			if _, err := m.openWith(t, nil).Install(t.Context(), m.entry(t, "a1")); !errors.Is(err, sdk.ErrUnsupported) {
				t.Errorf("Install: %v", err)
			}
			now := conformance.Contents(t, m.boot)
			if now[filepath.Join(m.boot, extlinuxPath)] != before[filepath.Join(m.boot, extlinuxPath)] || now[filepath.Join(m.boot, bootScript)] != "" {
				t.Errorf("a refused Install changed what boots: %v", now)
			}
			return nil
		}, `blocking extlinux/extlinux.conf: extlinux.conf cannot be taken over: it has "fdtoverlays"`, ""},
		"extlinux.conf written again": {methodExtlinux, func(t *testing.T, m *machine) map[string]string {
			installed(t, m)
			m.must(os.WriteFile(filepath.Join(m.boot, extlinuxPath), []byte("x"), 0o644))
			return nil
		}, "blocking extlinux/extlinux.conf: ", ""},
		"boot.scr.uimg": {methodFlashKernel, func(_ *testing.T, m *machine) map[string]string {
			m.must(os.WriteFile(filepath.Join(m.boot, "boot.scr.uimg"), []byte("x"), 0o644))
			return nil
		}, "blocking boot.scr.uimg: ", ""},
		"no state": {methodFlashKernel, func(*testing.T, *machine) map[string]string {
			return map[string]string{keyState: "", keyStatePartition: ""}
		}, "blocking the count of trials: ", ""},
		"state on no FAT": {methodFlashKernel, func(*testing.T, *machine) map[string]string {
			return map[string]string{keyStatePartition: ""}
		}, "no FAT filesystem is mounted there", ""},
		"state elsewhere": {methodFlashKernel, func(t *testing.T, m *machine) map[string]string {
			installed(t, m)
			return map[string]string{keyStatePartition: "mmc 1:3"}
		}, "on partition 1, and it is on mmc 1:3", ""},
		"bad partition": {methodFlashKernel, func(*testing.T, *machine) map[string]string {
			return map[string]string{keyStatePartition: "first"}
		}, `state_partition is "first"`, ""},
		"board": {methodFlashKernel, func(t *testing.T, m *machine) map[string]string { return m.board(t, boardVariables) }, "", "U-Boot's environment"},
		"board that cannot make an environment anew": {methodFlashKernel, func(t *testing.T, m *machine) map[string]string {
			if _, err := os.Stat(initialEnvironment); err == nil {
				t.Fatalf("this test needs a machine without %s", initialEnvironment)
			}
			return m.board(t, boardVariables)
		}, "warning /etc/u-boot-initial-env: it cannot be read", ""},
		"board with an environment that is lost": {methodFlashKernel, func(t *testing.T, m *machine) map[string]string {
			settings := m.board(t, boardVariables)
			config, err := os.ReadFile(settings[keyEnvConfig])
			m.must(err)
			m.must(os.WriteFile(strings.Fields(string(config))[0], make([]byte, 0x4000), 0o600))
			return settings
		}, "blocking U-Boot's environment: it cannot be read: fw_printenv", ""},
		"board with two copies": {methodFlashKernel, func(t *testing.T, m *machine) map[string]string {
			settings := m.board(t, boardVariables)
			settings[keyRedundant] = "true"
			return settings
		}, "it names 1 copy or copies of the environment, and redundant_environment is true", ""},
		"board with another altbootcmd": {methodFlashKernel, func(t *testing.T, m *machine) map[string]string {
			return m.board(t, "altbootcmd=run rescue\n")
		}, `warning U-Boot's environment: altbootcmd is "run rescue"`, ""},
		"board without configuration": {methodFlashKernel, func(t *testing.T, m *machine) map[string]string {
			settings := m.board(t, boardVariables)
			settings[keyEnvConfig] = "/nowhere/fw_env.config"
			return settings
		}, "blocking /nowhere/fw_env.config: ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, test.method)
			got := m.findings(t, test.change(t, m))
			if !strings.Contains(got, test.want) || test.not != "" && strings.Contains(got, test.not) {
				t.Errorf("findings:\n%s\nwant %q", got, test.want)
			}
		})
	}
}

// Without a place for the count nothing is tried, and all else works.
func TestNoPlace(t *testing.T) {
	m := newMachine(t, methodExtlinux)
	p := m.openWith(t, map[string]string{keyState: "", keyStatePartition: ""})
	_, err := p.Install(t.Context(), m.entry(t, "a1"))
	m.must(err)
	m.must(p.SetDefault(t.Context(), "a1"))
	m.must(p.Disarm(t.Context()))
	if err := p.Arm(t.Context(), "a1", 1); !errors.Is(err, sdk.ErrUnsupported) {
		t.Errorf("error %v", err)
	}
	description, err := p.Describe(t.Context())
	m.must(err)
	if description.Has(sdk.CapabilityOneShot) {
		t.Error("it claims to know trials")
	}
	m.wantBoot("a1")
}

func TestMethodIsNotGuessedOfOtherMachines(t *testing.T) {
	m := newMachine(t, methodFlashKernel)
	settings := m.settings()
	delete(settings, keyMethod)
	if _, err := readSettings(sdk.Setup{Settings: settings}); !errors.Is(err, sdk.ErrInvalid) {
		t.Errorf("error %v", err)
	}
	if s, err := readSettings(sdk.Setup{Settings: settings, Live: true}); err != nil || s.method != methodExtlinux {
		t.Errorf("method %q, %v, on a machine without flash-kernel", s.method, err)
	}
}
