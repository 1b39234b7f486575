package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/flashtree"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/uboottest"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/conformance"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
)

// These tests start what the plugin and the real flash-kernel wrote in a real U-Boot.

// open gives a plugin on the machine.
func (m *machine) open(t *testing.T) *bootdir.Plugin {
	t.Helper()
	return m.openWith(t, nil)
}

// openDefault opens a plugin and installs entries with it, of which the first becomes the
// default.
func (m *machine) openDefault(t *testing.T, ids ...string) *bootdir.Plugin {
	t.Helper()
	p := m.open(t)
	for _, id := range ids {
		_, err := p.Install(t.Context(), m.entry(t, id))
		m.must(err)
	}
	m.must(p.SetDefault(t.Context(), ids[0]))
	return p
}

// entry makes a request with a root tree whose kernel U-Boot can boot. The version is
// the same for all: what differs is the directory.
func (m *machine) entry(t *testing.T, id string) sdk.Entry {
	t.Helper()
	return m.entryOf(t, id, testVersion)
}

const testVersion = "6.1.0-9-arm64"

func (m *machine) entryOf(t *testing.T, id, version string) sdk.Entry {
	t.Helper()
	root := t.TempDir()
	tree := uboottest.DeviceTree(t)
	if m.method == methodFlashKernel {
		flashtree.New(t, root, tree)
	} else {
		m.must(os.MkdirAll(filepath.Join(root, "boot/dtbs", version), 0o755))
		m.must(os.WriteFile(filepath.Join(root, "boot/dtbs", version, "test.dtb"), tree, 0o644))
	}
	m.must(os.MkdirAll(filepath.Join(root, "boot"), 0o755))
	m.must(os.WriteFile(filepath.Join(root, "boot/vmlinuz-"+version), uboottest.Kernel("KERNEL "+id), 0o644))
	m.must(os.WriteFile(filepath.Join(root, "boot/initrd.img-"+version), make([]byte, 1000+100*int(id[1])), 0o644))
	return sdk.Entry{
		ID: id, Title: "It's " + id, Root: root,
		Arguments: []string{"root=UUID=" + id, "rootflags=subvolid=260", `odd=$x;{y}\z`, "ro"}, TrialArguments: []string{"panic=10", "tbupdate.trial=1"},
	}
}

// wantBoot starts U-Boot. want is an entry's id, with "trial " before it for a trial,
// or "foreign".
func (m *machine) wantBoot(want string) {
	m.t.Helper()
	id, trial := strings.CutPrefix(want, "trial ")
	got := m.start()
	if id == "foreign" {
		if got.Kernel != "KERNEL foreign" && !strings.Contains(got.Console, "FOREIGN") {
			m.t.Fatalf("U-Boot does not boot what was there before:\n%s", got.Console)
		}
		return
	}
	line := "root=UUID=" + id + ` rootflags=subvolid=260 odd=$x;{y}\z ro`
	if trial {
		line += " panic=10 tbupdate.trial=1"
	}
	if got.Kernel != "KERNEL "+id || got.CommandLine != line || got.InitrdSize != uint64(1000+100*int(id[1])) {
		m.t.Fatalf("U-Boot boots kernel %q, command line %q, initrd of %d bytes; want those of %s:\n%s", got.Kernel, got.CommandLine, got.InitrdSize, want, got.Console)
	}
}

// wantState compares what the plugin says.
func (m *machine) wantState(p *bootdir.Plugin, defaultID, trial string, tries int) {
	m.t.Helper()
	got, err := p.State(context.Background())
	m.must(err)
	want := sdk.BootState{Loader: "u-boot", Entries: got.Entries, Default: defaultID, Foreign: got.Foreign, Trial: trial, TriesLeft: tries}
	if diff := cmp.Diff(want, got); diff != "" {
		m.t.Errorf("state:\n%s", diff)
	}
	for _, entry := range got.Entries {
		if entry.Problem != "" {
			m.t.Errorf("entry %s: %s", entry.ID, entry.Problem)
		}
	}
}

func (m *machine) wantDefault(p *bootdir.Plugin, id string) {
	m.t.Helper()
	got, err := p.State(context.Background())
	m.must(err)
	if got.Default != id || got.Trial != "" {
		m.t.Errorf("default %q, trial %q; want %q and none", got.Default, got.Trial, id)
	}
	m.must(p.Verify(context.Background(), id))
}

func methods(t *testing.T, test func(t *testing.T, m *machine)) {
	for _, method := range []string{methodFlashKernel, methodExtlinux} {
		t.Run(method, func(t *testing.T) { test(t, newMachine(t, method)) })
	}
}

// A life of updates, each step as U-Boot sees it.
func TestUBootBootsWhatTheStateSays(t *testing.T) {
	methods(t, func(t *testing.T, m *machine) {
		p := m.open(t)
		m.wantBoot("foreign")
		for _, id := range []string{"a1", "b2", "c3"} {
			_, err := p.Install(t.Context(), m.entry(t, id))
			m.must(err)
			m.wantBoot("foreign")
		}
		m.must(p.SetDefault(t.Context(), "a1"))
		m.wantState(p, "a1", "", 0)
		m.wantBoot("a1")

		m.must(p.Arm(t.Context(), "b2", 2))
		m.wantState(p, "a1", "b2", 2)
		m.wantBoot("trial b2")
		m.wantState(p, "a1", "b2", 1)
		m.wantBoot("trial b2")
		m.wantState(p, "a1", "", 0)
		m.wantBoot("a1")

		m.must(p.Arm(t.Context(), "b2", 9))
		m.must(p.Disarm(t.Context()))
		m.wantBoot("a1")

		m.must(p.Arm(t.Context(), "c3", 3))
		m.wantBoot("trial c3")
		m.must(p.SetDefault(t.Context(), "c3"))
		m.wantState(p, "c3", "", 0)
		m.wantBoot("c3")
		m.must(p.Remove(t.Context(), "b2"))

		// The default is damaged: the one before.
		m.must(os.Truncate(filepath.Join(m.boot, bootdir.EntryPath("c3", chooser.EntryWords)), 100))
		run(t, "sync", "-f", m.boot)
		m.wantBoot("a1")
	})
}

// A copy of the default is damaged: State says which, U-Boot boots by the other, and
// SetDefault of what boots makes both whole.
func TestMendsTheDefault(t *testing.T) {
	m := newMachine(t, methodExtlinux)
	p := m.openDefault(t, "a1", "b2")
	whole := conformance.Contents(t, m.boot)
	for _, path := range m.statePaths()[0] {
		for name, damage := range map[string]func() error{
			"torn":  func() error { return durable.Overwrite(path, 0, []byte("torn")) },
			"short": func() error { return os.Truncate(path, 100) },
			"gone":  func() error { return os.Remove(path) },
		} {
			m.must(damage())
			run(t, "sync", "-f", m.boot)
			state, err := p.State(t.Context())
			m.must(err)
			if state.Default != "a1" || !strings.Contains(state.Damage, filepath.Base(path)) {
				t.Errorf("%s %s: default %q, damage %q", path, name, state.Default, state.Damage)
			}
			m.wantBoot("a1")
			m.must(p.SetDefault(t.Context(), "a1"))
			m.wantState(p, "a1", "", 0)
			if diff := cmp.Diff(whole, conformance.Contents(t, m.boot)); diff != "" {
				t.Errorf("%s %s, and mended:\n%s", path, name, diff)
			}
		}
	}
}

// Power goes between any two writes of a switch: U-Boot boots the one or the other.
// A write is torn, too: one sector of the state is none of both.
func TestPowerCutsOfSwitches(t *testing.T) {
	for name, test := range map[string]struct {
		change func(p *bootdir.Plugin) error
		before string
		after  string
	}{
		"arm":         {func(p *bootdir.Plugin) error { return p.Arm(context.Background(), "b2", 1) }, "a1", "trial b2"},
		"set default": {func(p *bootdir.Plugin) error { return p.SetDefault(context.Background(), "b2") }, "a1", "b2"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, methodExtlinux)
			p := m.openDefault(t, "a1", "b2")
			m.must(p.Arm(t.Context(), "b2", 1))
			m.must(p.Disarm(t.Context()))
			paths := m.statePaths()
			old := readAll(t, paths)
			m.must(test.change(p))
			changed := readAll(t, paths)
			for stage := range copiesStages {
				m.must(writeStage(paths, old, changed, stage))
				run(t, "sync", "-f", m.boot)
				want := test.after
				if stage <= 1 {
					want = test.before
				}
				t.Logf("stage %d of %s", stage, name)
				m.wantBoot(want)
			}
		})
	}
}

// copiesStages are the states between the writes of package copies, when both copies
// are the same before: first torn (0 written, then torn), first written, second torn,
// both written.
const copiesStages = 5

func writeStage(paths [][2]string, old, changed [][2][]byte, stage int) error {
	for i, pair := range paths {
		first, second := old[i][0], old[i][1]
		switch stage {
		case 1:
			first = tear(old[i][0], changed[i][0])
		case 2:
			first = changed[i][0]
		case 3:
			first, second = changed[i][0], tear(old[i][1], changed[i][1])
		case 4:
			first, second = changed[i][0], changed[i][1]
		}
		for j, data := range [][]byte{first, second} {
			if err := durable.Overwrite(pair[j], 0, data); err != nil {
				return err
			}
		}
	}
	return nil
}

// tear gives a sector of which a disk wrote the beginning, with the checksum in it.
func tear(old, changed []byte) []byte {
	if string(old) == string(changed) {
		return old
	}
	return append(append([]byte{}, changed[:10]...), old[10:]...)
}

// statePaths are the pairs of copies.
func (m *machine) statePaths() [][2]string {
	return [][2]string{
		{filepath.Join(m.boot, bootdir.Directory, chooser.DefaultA), filepath.Join(m.boot, bootdir.Directory, chooser.DefaultB)},
		{filepath.Join(m.state, chooser.TrialA), filepath.Join(m.state, chooser.TrialB)},
	}
}

func readAll(t *testing.T, paths [][2]string) [][2][]byte {
	t.Helper()
	var all [][2][]byte
	for _, pair := range paths {
		var found [2][]byte
		for i, path := range pair {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			found[i] = data
		}
		all = append(all, found)
	}
	return all
}
