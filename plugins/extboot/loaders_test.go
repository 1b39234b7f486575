package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/extlinux"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func testRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "boot"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeText(t, filepath.Join(root, "boot/vmlinuz-6.1"), strings.Repeat("kernel", 1000))
	writeText(t, filepath.Join(root, "boot/initrd.img-6.1"), strings.Repeat("initrd", 1000))
	return root
}

func testEntry(t *testing.T, id string) sdk.Entry {
	t.Helper()
	return sdk.Entry{ID: id, Title: "Version " + id, Root: testRoot(t), Arguments: []string{"root=UUID=2", "rootflags=subvolid=260"}, TrialArguments: []string{"panic=10"}}
}

func mustDo(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustInstall(t *testing.T, p *testPlugin, entry sdk.Entry) {
	t.Helper()
	_, err := p.Install(t.Context(), entry)
	mustDo(t, err)
}

// newDefault makes a filesystem with an entry a1 that is the default.
func (p platform) newDefault(t *testing.T) (dir string, plugin *testPlugin, entry sdk.Entry) {
	t.Helper()
	_, dir = p.newDevice(t)
	plugin, entry = openPlugin(t, dir), testEntry(t, "a1")
	mustInstall(t, plugin, entry)
	mustDo(t, plugin.SetDefault(t.Context(), "a1"))
	return dir, plugin, entry
}

func readBytes(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	mustDo(t, err)
	return data
}

// extlinux' own program must write the same vector to the byte, and be understood.
func TestExtlinuxProgramAgrees(t *testing.T) {
	for _, filesystem := range []loopback.Filesystem{loopback.Ext2, loopback.Ext3, loopback.Ext4} {
		t.Run(string(filesystem), func(t *testing.T) {
			_, dir := platform{filesystem, loaderExtlinux}.newDevice(t)
			p := openPlugin(t, dir)
			mustInstall(t, p, testEntry(t, "a1"))
			mustInstall(t, p, testEntry(t, "b2"))
			vector := filepath.Join(dir, "extlinux", vectorFile)
			extlinuxProgram := func(option string) []byte {
				t.Helper()
				if output, err := exec.Command("extlinux", option, filepath.Join(dir, "extlinux")).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, output)
				}
				return readBytes(t, vector)
			}
			before := readBytes(t, vector)
			mustDo(t, p.Arm(t.Context(), "b2", 1))
			ours := readBytes(t, vector)
			if want := len(before) - extlinux.VectorSize; !bytes.Equal(before[:want], ours[:want]) {
				t.Error("more than the vector was changed")
			}
			mustDo(t, p.Disarm(t.Context()))
			if theirs := extlinuxProgram("--once=tbupdate-b2.trial"); !bytes.Equal(ours, theirs) {
				t.Error("extlinux --once writes another vector")
			}
			state, err := p.State(t.Context())
			mustDo(t, err)
			if state.Trial != "b2" || state.Default != "" || state.Foreign != "good" {
				t.Errorf("state %+v", state)
			}
			mustDo(t, p.Disarm(t.Context()))
			if cleared := extlinuxProgram("--clear-once"); !bytes.Equal(before, cleared) {
				t.Error("Disarm does not leave what was there")
			}
			extlinuxProgram("--once=good")
			mustDo(t, p.Disarm(t.Context()))
			if vector, _, err := p.loader.(*extlinuxLoader).readVector(); err != nil || vector.Once() != "good" {
				t.Errorf("Disarm took back what others armed: %q %v", vector.Once(), err)
			}
			output, err := exec.Command("lsattr", vector).Output()
			if err != nil || !strings.Contains(strings.Fields(string(output))[0], "i") {
				t.Errorf("%s is not immutable any more: %s", vectorFile, output)
			}
		})
	}
}

// Only the first line changes with the default, and only within its sector.
func TestExtlinuxDefaultIsOneSectorsChange(t *testing.T) {
	_, dir := platform{loopback.Ext4, loaderExtlinux}.newDevice(t)
	p := openPlugin(t, dir)
	mustInstall(t, p, testEntry(t, "a1"))
	config := filepath.Join(dir, "extlinux", extlinux.ConfigFile)
	before, info := readBytes(t, config), inode(t, config)
	if !strings.Contains(string(before), "label good\n  linux /vmlinuz\n  append root=UUID=2 ro\n") {
		t.Errorf("a foreign label is lost:\n%s", before)
	}
	mustDo(t, p.SetDefault(t.Context(), "a1"))
	after := readBytes(t, config)
	if len(before) != len(after) || !bytes.Equal(before[extlinux.DefaultLineSize:], after[extlinux.DefaultLineSize:]) || inode(t, config) != info {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func inode(t *testing.T, path string) string {
	t.Helper()
	output, err := exec.Command("stat", "-c", "%i", path).Output()
	mustDo(t, err)
	return string(output)
}

func TestUBootKnowsNoTrial(t *testing.T) {
	device := loopback.New(t, loopback.Options{Filesystem: loopback.Ext4})
	dir := device.Mount(t)
	mustDo(t, os.Mkdir(filepath.Join(dir, "extlinux"), 0o755))
	writeText(t, filepath.Join(dir, "extlinux/extlinux.conf"), "label l0\n  linux /vmlinuz\n  append root=ZFS=rpool/x\n")
	p := openPlugin(t, dir)
	mustInstall(t, p, testEntry(t, "a1"))
	if err := p.Arm(t.Context(), "a1", 1); !errors.Is(err, sdk.ErrUnsupported) {
		t.Errorf("error %v, want unsupported", err)
	}
	mustDo(t, p.SetDefault(t.Context(), "a1"))
	wantFinding(t, p, sdk.SeverityBlocking, "ldlinux.sys")
}

func TestForeignConfigurationsThatCannotBeTakenOver(t *testing.T) {
	_, dir := platform{loopback.Ext4, loaderExtlinux}.newDevice(t)
	writeText(t, filepath.Join(dir, "extlinux/extlinux.conf"), "UI menu.c32\n"+foreignExtlinux)
	p := openPlugin(t, dir)
	if _, err := p.Install(t.Context(), testEntry(t, "a1")); !errors.Is(err, sdk.ErrUnsupported) {
		t.Errorf("error %v, want unsupported", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tbupdate")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
	wantFinding(t, p, sdk.SeverityBlocking, "UI menu.c32")
}

func wantFinding(t *testing.T, p *testPlugin, severity sdk.Severity, text string) {
	t.Helper()
	findings, err := p.Check(t.Context())
	mustDo(t, err)
	if !slices.ContainsFunc(findings, func(f sdk.Finding) bool {
		return f.Severity == severity && strings.Contains(f.Subject+" "+f.Problem, text) && f.Remedy != ""
	}) {
		t.Errorf("no %s finding with %q in %+v", severity, text, findings)
	}
}

func TestCheck(t *testing.T) {
	grub := platform{loopback.Ext4, loaderGRUB}
	t.Run("clean", func(t *testing.T) {
		_, dir := grub.newDevice(t)
		writeText(t, filepath.Join(dir, "grub/grub.cfg"), grubcfg.MinimalConfig())
		p := openPlugin(t, dir)
		mustInstall(t, p, testEntry(t, "a1"))
		mustDo(t, p.SetDefault(t.Context(), "a1"))
		findings, err := p.Check(t.Context())
		mustDo(t, err)
		if diff := cmp.Diff([]sdk.Finding(nil), findings); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("foreign entry without a pin", func(t *testing.T) {
		_, dir := grub.newDevice(t)
		p := openPlugin(t, dir)
		wantFinding(t, p, sdk.SeverityBlocking, "Debian GNU/Linux")
		mustInstall(t, p, testEntry(t, "a1"))
		mustDo(t, p.SetDefault(t.Context(), "a1"))
		wantFinding(t, p, sdk.SeverityWarning, "Debian GNU/Linux")
	})
	t.Run("entry of ours without a pin", func(t *testing.T) {
		_, dir := grub.newDevice(t)
		p := openPlugin(t, dir)
		entry := testEntry(t, "a1")
		entry.Arguments = []string{"root=UUID=2", "ro"}
		mustInstall(t, p, entry)
		wantFinding(t, p, sdk.SeverityWarning, "boot entry a1 it does not pin its root")
		mustDo(t, p.SetDefault(t.Context(), "a1"))
		wantFinding(t, p, sdk.SeverityBlocking, "boot entry a1 it does not pin its root")
	})
	t.Run("include not read", func(t *testing.T) {
		_, dir := grub.newDevice(t)
		writeText(t, filepath.Join(dir, "grub/grub.cfg"), "set default=0\n")
		wantFinding(t, openPlugin(t, dir), sdk.SeverityBlocking, "custom.cfg")
	})
	t.Run("hook overwritten by others", func(t *testing.T) {
		dir, p, entry := grub.newDefault(t)
		writeText(t, filepath.Join(dir, "grub/custom.cfg"), "set color_normal=white/blue\n")
		wantFinding(t, p, sdk.SeverityBlocking, "custom.cfg")
		state, err := p.State(t.Context())
		mustDo(t, err)
		if state.Default != "" || state.Foreign != "0" || state.Entries[0].Problem == "" {
			t.Errorf("state %+v", state)
		}
		if err := p.Remove(t.Context(), "a1"); !errors.Is(err, sdk.ErrBusy) {
			t.Errorf("Remove of the default that GRUB does not come to: %v", err)
		}
		mustInstall(t, p, entry)
		if state, err = p.State(t.Context()); err != nil || state.Default != "a1" || state.Entries[0].Problem != "" {
			t.Errorf("Install does not mend it: %+v %v", state, err)
		}
		custom := readBytes(t, filepath.Join(dir, "grub/custom.cfg"))
		if !strings.HasPrefix(string(custom), "set color_normal") {
			t.Errorf("the foreign line is lost:\n%s", custom)
		}
	})
	t.Run("read-only", func(t *testing.T) {
		device, dir := grub.newDevice(t)
		p := openPlugin(t, dir)
		mustInstall(t, p, testEntry(t, "a1"))
		if output, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		wantFinding(t, p, sdk.SeverityBlocking, "read-only")
		for name, err := range map[string]error{
			"SetDefault": p.SetDefault(t.Context(), "a1"),
			"Arm":        p.Arm(t.Context(), "a1", 1),
			"Remove":     p.Remove(t.Context(), "a1"),
			"Install":    func() error { _, err := p.Install(t.Context(), testEntry(t, "b2")); return err }(),
		} {
			if !errors.Is(err, sdk.ErrReadOnly) {
				t.Errorf("%s: error %v, want read-only", name, err)
			}
		}
		// The plugin's own mount is read-only then too, and says the same.
		other := newPlugin("test")
		mustDo(t, other.Configure(t.Context(), sdk.Setup{Settings: map[string]string{"device": device.Path}, RunDirectory: t.TempDir()}))
		defer func() { mustDo(t, other.Close()) }()
		wantFinding(t, other, sdk.SeverityBlocking, "read-only")
	})
	t.Run("no room for another", func(t *testing.T) {
		_, dir := grub.newDevice(t)
		p := openPlugin(t, dir)
		entry := testEntry(t, "a1")
		writeText(t, filepath.Join(entry.Root, "boot/initrd.img-6.1"), strings.Repeat("x", 30<<20))
		mustInstall(t, p, entry)
		wantFinding(t, p, sdk.SeverityBlocking, "another kernel set")
	})
	t.Run("data journaled", func(t *testing.T) {
		device := loopback.New(t, loopback.Options{Filesystem: loopback.Ext4})
		dir := device.Mount(t, "data=journal")
		grub.installLoader(t, dir)
		wantFinding(t, openPlugin(t, dir), sdk.SeverityBlocking, "journals file data")
	})
	t.Run("64bit with extlinux", func(t *testing.T) {
		device := loopback.New(t, loopback.Options{Filesystem: loopback.Ext4, MkfsArguments: []string{"-O", "64bit"}})
		dir := device.Mount(t)
		platform{loopback.Ext4, loaderExtlinux}.installLoader(t, dir)
		wantFinding(t, openPlugin(t, dir), sdk.SeverityBlocking, "64bit")
	})
}

func TestConfigureRefuses(t *testing.T) {
	_, grub := platform{loopback.Ext4, loaderGRUB}.newDevice(t)
	_, both := platform{loopback.Ext4, loaderGRUB}.newDevice(t)
	platform{loopback.Ext4, loaderExtlinux}.installLoader(t, both)
	none := loopback.New(t, loopback.Options{Filesystem: loopback.Ext2}).Mount(t)
	btrfs := loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs}).Mount(t)
	tests := []struct {
		name     string
		settings map[string]string
		want     error
		text     string
	}{
		{"nothing set", nil, sdk.ErrInvalid, "mount"},
		{"mount and device", map[string]string{"mount": grub, "device": "/dev/x"}, sdk.ErrInvalid, "both"},
		{"not mounted", map[string]string{"mount": t.TempDir()}, sdk.ErrNotFound, "no filesystem"},
		{"another filesystem", map[string]string{"mount": btrfs}, sdk.ErrUnsupported, "btrfs"},
		{"no device", map[string]string{"device": "LABEL=none-such"}, sdk.ErrNotFound, "LABEL=none-such"},
		{"no loader", map[string]string{"mount": none}, sdk.ErrUnsupported, "neither"},
		{"two loaders", map[string]string{"mount": both}, sdk.ErrInvalid, "set loader"},
		{"loader not there", map[string]string{"mount": grub, "loader": "extlinux"}, sdk.ErrNotFound, "extlinux"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPlugin("test")
			err := p.Configure(t.Context(), sdk.Setup{Settings: test.settings, RunDirectory: t.TempDir()})
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.text)
			}
			mustDo(t, p.Close())
		})
	}
}
