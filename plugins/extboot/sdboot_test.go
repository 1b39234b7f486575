package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/bls"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// newSdboot gives a machine where a1 is the default and b2 is installed.
func newSdboot(t *testing.T) (*testPlugin, string) {
	t.Helper()
	_, dir := platform{loopback.Ext4, loaderSdboot}.newDevice(t)
	p := openPlugin(t, dir)
	mustInstall(t, p, testEntry(t, "a1"))
	mustDo(t, p.SetDefault(t.Context(), "a1"))
	mustInstall(t, p, testEntry(t, "b2"))
	return p, dir
}

func wantState(t *testing.T, p *testPlugin, defaultID, trial string, tries int) {
	t.Helper()
	state, err := p.State(t.Context())
	mustDo(t, err)
	if state.Default != defaultID || state.Trial != trial || state.TriesLeft != tries {
		t.Errorf("default %q, trial %q, %d tries left; want %q, %q, %d", state.Default, state.Trial, state.TriesLeft, defaultID, trial, tries)
	}
}

// What a loss of power leaves of Arm and of the loader's renaming, and what then
// boots. The states are those of docs/decisions/0009-counting-tries.md.
func TestSdbootStatesBetweenWrites(t *testing.T) {
	p, dir := newSdboot(t)
	mustDo(t, p.Arm(t.Context(), "b2", 3))
	entries := filepath.Join(dir, sdbootEntries)
	armed := string(readBytes(t, filepath.Join(entries, bls.TrialName("b2", 3))))
	off, err := bls.Entry{}.Head(bls.RankOff)
	mustDo(t, err)
	unseen := string(off) + armed[len(off):]
	tests := []struct {
		name  string
		files map[string]string // of the trial
		trial string
		tries int
	}{
		{"Arm: nothing yet", nil, "", 0},
		{"Arm: a name without blocks", map[string]string{"tbupdate-b2.trial+3.conf": ""}, "", 0},
		{"Arm: blocks without content", map[string]string{"tbupdate-b2.trial+3.conf": strings.Repeat("\x00", len(armed))}, "", 0},
		{"Arm: the short name alone", map[string]string{"TBUPDA~1.CON": armed}, "", 0},
		{"Arm: before the switch", map[string]string{"tbupdate-b2.trial+3.conf": unseen}, "", 0},
		{"Arm: after it", map[string]string{"tbupdate-b2.trial+3.conf": armed}, "b2", 3},
		{"loader: the old name gone, the new not there", nil, "", 0},
		{"loader: renamed", map[string]string{"tbupdate-b2.trial+2-1.conf": armed}, "b2", 2},
		{"loader: both names", map[string]string{"tbupdate-b2.trial+3.conf": armed, "tbupdate-b2.trial+2-1.conf": armed}, "b2", 3},
		{"loader: last try", map[string]string{"tbupdate-b2.trial+0-3.conf": armed}, "", 0},
		{"Disarm: not seen any more", map[string]string{"tbupdate-b2.trial+2-1.conf": unseen}, "", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			leftover, err := filepath.Glob(filepath.Join(entries, "*b2.trial*"))
			mustDo(t, err)
			for _, path := range append(leftover, filepath.Join(entries, "TBUPDA~1.CON")) {
				if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
			for name, text := range test.files {
				writeText(t, filepath.Join(entries, name), text)
			}
			wantState(t, p, "a1", test.trial, test.tries)
			mustDo(t, p.Arm(t.Context(), "b2", 5))
			wantState(t, p, "a1", "b2", 5)
			mustDo(t, p.Disarm(t.Context()))
			wantState(t, p, "a1", "", 0)
		})
	}
}

// systemd-bless-boot takes the counter away from what came up well, as far as it can
// tell. Then that is the default, and both ways lead out.
func TestSdbootTrialBlessedByOthers(t *testing.T) {
	for _, test := range []struct{ then, want string }{{"b2", "b2"}, {"a1", "a1"}} {
		t.Run("then "+test.then, func(t *testing.T) {
			p, dir := newSdboot(t)
			mustDo(t, p.Arm(t.Context(), "b2", 1))
			entries := filepath.Join(dir, sdbootEntries)
			mustDo(t, os.Rename(filepath.Join(entries, bls.TrialName("b2", 1)), filepath.Join(entries, "tbupdate-b2.trial.conf")))
			wantState(t, p, "b2", "", 0)
			wantFinding(t, p, sdk.SeverityWarning, "it was a trial")
			if err := p.Remove(t.Context(), "b2"); !errors.Is(err, sdk.ErrBusy) {
				t.Errorf("Remove of what boots: %v", err)
			}
			mustDo(t, p.SetDefault(t.Context(), test.then))
			wantState(t, p, test.want, "", 0)
			if exists(filepath.Join(entries, "tbupdate-b2.trial.conf")) {
				t.Error("the trial's file is still there")
			}
		})
	}
}

// loader.conf of others is taken over with the first default, and again when somebody
// changed it.
func TestSdbootLoaderConf(t *testing.T) {
	_, dir := platform{loopback.Ext4, loaderSdboot}.newDevice(t)
	p := openPlugin(t, dir)
	config := filepath.Join(dir, sdbootConfig)
	writeText(t, config, "default debian-*\ntimeout 7\n")
	mustInstall(t, p, testEntry(t, "a1"))
	if state, err := p.State(t.Context()); err != nil || state.Default != "" || state.Foreign != "debian-6.1.conf" {
		t.Errorf("state %+v %v", state, err)
	}
	if err := p.Arm(t.Context(), "a1", 1); !errors.Is(err, sdk.ErrUnsupported) {
		t.Errorf("Arm without a default of ours: %v", err)
	}
	mustDo(t, p.SetDefault(t.Context(), "a1"))
	wantState(t, p, "a1", "", 0)
	if got := string(readBytes(t, config)); got != "# before tbupdate: default debian-*\ntimeout 7\ndefault tbupdate-*\n" {
		t.Errorf("loader.conf:\n%s", got)
	}
	writeText(t, config, "default debian-*\n")
	wantState(t, p, "", "", 0)
	wantFinding(t, p, sdk.SeverityBlocking, "debian-*")
	if err := p.Remove(t.Context(), "a1"); !errors.Is(err, sdk.ErrBusy) {
		t.Errorf("Remove of what is the default as soon as that is mended: %v", err)
	}
	mustDo(t, p.SetDefault(t.Context(), "a1"))
	wantState(t, p, "a1", "", 0)
}

// A variable of the firmware counts more than any file.
func TestSdbootVariables(t *testing.T) {
	p, _ := newSdboot(t)
	loader := p.loader.(*sdbootLoader)
	loader.variables = variables(t.TempDir())
	set := func(name, value string) {
		mustDo(t, loader.variables.set(name, value))
	}
	set("LoaderEntryOneShot", "auto-reboot-to-firmware-setup")
	wantState(t, p, "a1", "", 0)
	wantFinding(t, p, sdk.SeverityWarning, "auto-reboot-to-firmware-setup")
	set("LoaderEntryDefault", "Debian-6.1.conf")
	wantState(t, p, "", "", 0)
	wantFinding(t, p, sdk.SeverityBlocking, "LoaderEntryDefault")
	if err := p.Arm(t.Context(), "b2", 1); !errors.Is(err, sdk.ErrCorrupt) {
		t.Errorf("Arm: %v", err)
	}
	set("LoaderEntryDefault", "gone.conf")
	wantState(t, p, "a1", "", 0)
}

func TestSdbootOnExtIsRefused(t *testing.T) {
	dir := loopback.New(t, loopback.Options{Filesystem: loopback.Ext4}).Mount(t)
	mustDo(t, os.MkdirAll(filepath.Join(dir, sdbootEntries), 0o755))
	p := newPlugin("test")
	defer func() { mustDo(t, p.Close()) }()
	err := p.Configure(t.Context(), sdk.Setup{Settings: map[string]string{"mount": dir}, RunDirectory: t.TempDir()})
	if !errors.Is(err, sdk.ErrUnsupported) || !strings.Contains(err.Error(), "set esp") {
		t.Errorf("error %v", err)
	}
}
