package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/bootscript"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/flashtree"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/conformance"
)

// openWith gives a plugin with other settings.
func (m *machine) openWith(t *testing.T, change map[string]string) *bootdir.Plugin {
	t.Helper()
	settings := m.settings()
	for name, value := range change {
		if settings[name] = value; value == "" {
			delete(settings, name)
		}
	}
	p := bootdir.New(program("test"))
	m.must(p.Configure(t.Context(), sdk.Setup{Settings: settings, RunDirectory: t.TempDir()}))
	t.Cleanup(func() { m.must(p.Close()) })
	return p
}

// Where flash-kernel claims success, fails, or makes something else than asked,
// Install says why, and what was there stays as it was.
func TestFlashKernelLies(t *testing.T) {
	remove := func(name string) func(root string) error {
		return func(root string) error { return os.RemoveAll(filepath.Join(root, name)) }
	}
	lie := func(script string) func(root string) error {
		return func(root string) error {
			path := filepath.Join(root, "usr/sbin/flash-kernel")
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			// A new file: the old one may have other names.
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.WriteFile(path, append([]byte("#!/bin/sh\n"+script+"\n"), text...), 0o755)
		}
	}
	for name, test := range map[string]struct {
		machine string
		change  func(root string) error
		want    *sdk.Error
		says    string
	}{
		"other flavour":       {machine: "picky", want: sdk.ErrUnsupported, says: "does not match any of the expected flavors (arm64)"},
		"unknown machine":     {machine: "no such", want: sdk.ErrUnsupported, says: "Unsupported platform 'no such'"},
		"machine none":        {machine: "none", want: sdk.ErrUnsupported, says: "tells flash-kernel to do nothing"},
		"no script":           {machine: "without script", want: sdk.ErrUnsupported, says: "there is no boot.scr"},
		"no device tree":      {machine: "without device tree", want: sdk.ErrUnsupported, says: "needs a DTB-Id"},
		"script of its own":   {machine: "other script", want: sdk.ErrUnsupported, says: "does not look at ${fk_kvers}"},
		"not in the tree":     {change: remove("usr/sbin/flash-kernel"), want: sdk.ErrUnsupported, says: "/usr/sbin/flash-kernel"},
		"does nothing":        {change: lie("exit 0"), want: sdk.ErrUnsupported, says: "there is no boot.scr"},
		"does another kernel": {change: lie("cp /boot/vmlinuz-* /boot/vmlinuz-9.9; shift; set -- --force 9.9"), want: sdk.ErrUnsupported, says: "9.9"},
		"another chooser": {change: func(root string) error {
			return os.WriteFile(filepath.Join(root, "etc/flash-kernel/ubootenv.d/50-mine"), []byte(chooser.Snippet()), 0o644)
		}, want: sdk.ErrUnsupported, says: "another chooser in ubootenv.d besides zz-tbupdate"},
		"damaged device tree": {change: func(root string) error {
			path := filepath.Join(root, "etc/flash-kernel/dtbs/test.dtb")
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte("\xd0\x0d\xfe\xed\x00\x00\xff\xff"), 0o644))
		}, want: sdk.ErrUnsupported, says: "no whole device tree"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, methodFlashKernel)
			settings := map[string]string{}
			if test.machine != "" {
				settings[keyMachine] = test.machine
			}
			p := m.openWith(t, settings)
			entry := m.entry(t, "a1")
			if name == "other flavour" || name == "does another kernel" {
				entry = m.entryOf(t, "a1", "6.1.0-9-other")
			}
			if test.change != nil {
				m.must(test.change(entry.Root))
			}
			before := conformance.Contents(t, m.boot)
			_, err := p.Install(t.Context(), entry)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %q with %q", err, test.want.Code, test.says)
			}
			if diff := cmp.Diff(before, conformance.Contents(t, m.boot)); diff != "" {
				t.Errorf("the boot filesystem changed:\n%s", diff)
			}
		})
	}
}

// The machine's name comes from the tree where no setting has it.
func TestMachineOfTree(t *testing.T) {
	m := newMachine(t, methodFlashKernel)
	p := m.openWith(t, map[string]string{keyMachine: ""})
	entry := m.entry(t, "a1")
	if _, err := p.Install(t.Context(), entry); !errors.Is(err, sdk.ErrInvalid) || !strings.Contains(err.Error(), "set machine") {
		t.Errorf("error %v", err)
	}
	m.must(os.WriteFile(filepath.Join(entry.Root, "etc/flash-kernel/machine"), []byte(flashtree.Machine+"\n"), 0o644))
	if _, err := p.Install(t.Context(), entry); err != nil {
		t.Error(err)
	}
}

// The same tree gives the same entry, and another database, snippet or device tree
// another one.
func TestMadeFrom(t *testing.T) {
	m := newMachine(t, methodFlashKernel)
	p := m.open(t)
	entry := m.entry(t, "a1")
	install := func() map[string]string {
		t.Helper()
		_, err := p.Install(t.Context(), entry)
		m.must(err)
		return conformance.Contents(t, filepath.Join(m.boot, bootdir.EntryPath("a1")))
	}
	before := install()
	if diff := cmp.Diff(before, install()); diff != "" {
		t.Errorf("the second Install changed the entry:\n%s", diff)
	}
	m.must(os.WriteFile(filepath.Join(entry.Root, "etc/flash-kernel/ubootenv.d/20-more"), []byte("echo more\n"), 0o644))
	after := install()
	if cmp.Equal(before, after) {
		t.Error("another snippet made the same entry")
	}
	m.must(p.SetDefault(t.Context(), "a1"))
	m.wantBoot("a1")
}

// Somebody runs flash-kernel in the system that runs: with the snippet in the tree, the
// new script chooses like the one before.
func TestFlashKernelByHand(t *testing.T) {
	m := newMachine(t, methodFlashKernel)
	p := m.openDefault(t, "a1", "b2")
	m.must(p.Arm(t.Context(), "b2", 1))
	made, err := os.ReadFile(filepath.Join(m.boot, bootdir.EntryPath("b2", bootScript)))
	m.must(err)
	m.must(os.WriteFile(filepath.Join(m.boot, bootScript), made, 0o644))
	run(t, "sync", "-f", m.boot)
	m.must(p.Verify(t.Context(), "a1"))
	m.wantState(p, "a1", "b2", 1)
	m.wantBoot("trial b2")
	m.wantBoot("a1")

	// Without the snippet it does not, and says so; the next update mends it.
	m.must(os.WriteFile(filepath.Join(m.boot, bootScript), scriptOf(t, "setenv fk_kvers '6.0'\n"), 0o644))
	state, err := p.State(t.Context())
	m.must(err)
	if state.Default != "" || state.Foreign != "kernel 6.0 of boot.scr" || !strings.Contains(state.Entries[0].Problem, "does not have tbupdate's chooser") {
		t.Errorf("state %+v", state)
	}
	_, err = p.Install(t.Context(), m.entry(t, "c3"))
	m.must(err)
	m.wantState(p, "a1", "", 0)
	m.wantBoot("a1")
}

// An update brings a new version of this program, whose chooser has another text. The
// one that U-Boot has, and the entries that were made with it, go on to count.
func TestChooserOfAnotherVersion(t *testing.T) {
	methods(t, func(t *testing.T, m *machine) {
		p := m.openDefault(t, "a1", "b2")
		path := filepath.Join(m.boot, bootScript)
		data, err := os.ReadFile(path)
		m.must(err)
		script, err := bootscript.Parse(data)
		m.must(err)
		older := strings.Replace(script.Text, "  # The trial:", "  # Of an older version:\n  # The trial:", 1)
		m.must(os.WriteFile(path, scriptOf(t, older), 0o644))
		m.must(p.Arm(t.Context(), "b2", 1))
		m.wantState(p, "a1", "b2", 1)
		run(t, "sync", "-f", m.boot)
		m.wantBoot("trial b2")
		m.wantState(p, "a1", "", 0)
		if got := m.findings(t, nil); !strings.Contains(got, "note boot.scr: it has the chooser of another version") {
			t.Errorf("findings:\n%s", got)
		}
		_, err = p.Install(t.Context(), m.entry(t, "c3"))
		m.must(err)
		if got := m.findings(t, nil); strings.Contains(got, "note boot.scr") {
			t.Errorf("findings:\n%s", got)
		}
		m.wantBoot("a1")
	})
}
