package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubenv"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/conformance"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// These tests ask GRUB itself: grub-emu is GRUB as a program, with its own
// filesystem drivers and script interpreter, on a copy of the disk image as it is
// while Linux has it mounted. So it sees what a boot loader sees after the power
// went: no page cache, and no journal replayed.

// emuConfig stands before debianConfig. grub-emu cannot boot: these functions note
// what would be, in an environment block of the test's own, and leave.
const emuConfig = `
function linux {
	if [ -s "$1" ]; then
		set kernel="$1"
		set arguments="$2 $3 $4 $5 $6 $7"
	else
		false
	fi
}
function initrd {
	set initrd="$1"
	set chosen_entry="$chosen"
	save_env --file (hd1)/result kernel arguments initrd chosen_entry
	reboot
}
`

// grubMachine is a boot filesystem with GRUB, and a plugin that works on it.
type grubMachine struct {
	t      *testing.T
	p      platform
	device *loopback.Device
	dir    string
	plugin *testPlugin
	esp    string // image that GRUB starts from, "" for the boot filesystem itself
}

func newGRUBMachine(t *testing.T, filesystem loopback.Filesystem) *grubMachine {
	t.Helper()
	m := newGRUBDisk(t, filesystem)
	m.plugin = openPlugin(t, m.dir)
	// What is there before the first Install is nobody's crash.
	if err := m.plugin.volume.Settle(); err != nil {
		t.Fatal(err)
	}
	return m
}

// newGRUBDisk is a machine whose plugin somebody else opens.
func newGRUBDisk(t *testing.T, filesystem loopback.Filesystem) *grubMachine {
	t.Helper()
	m := &grubMachine{t: t, p: platform{filesystem, loaderGRUB}}
	m.device, m.dir = m.p.newDevice(t)
	writeText(t, filepath.Join(m.dir, "grub/grub.cfg"), emuConfig+debianConfig)
	writeText(t, filepath.Join(m.dir, "vmlinuz-6.1"), "foreign")
	m.installModules(filepath.Join(m.dir, "grub"))
	return m
}

// installModules puts what grub-emu loads into its directory.
func (m *grubMachine) installModules(dir string) {
	m.t.Helper()
	const modules = "/usr/lib/grub/x86_64-emu"
	if _, err := os.Stat(modules); err != nil {
		m.t.Fatalf("this test needs grub-emu: apt-get install grub-emu (%v)", err)
	}
	m.must(os.MkdirAll(filepath.Join(dir, "x86_64-emu"), 0o755))
	for _, module := range []string{"command.lst", "loadenv.mod", "test.mod", "echo.mod", "search.mod", "search_fs_uuid.mod", "sleep.mod", "reboot.mod", "true.mod", "boot.mod", "ext2.mod", "normal.mod", "configfile.mod", "disk.mod", "fat.mod", "fshelp.mod"} {
		data, err := os.ReadFile(filepath.Join(modules, module))
		if os.IsNotExist(err) {
			continue // built into the program
		}
		m.must(err)
		writeText(m.t, filepath.Join(dir, "x86_64-emu", module), string(data))
	}
}

func (m *grubMachine) install(id string) {
	m.t.Helper()
	root := m.t.TempDir()
	for _, name := range []string{"boot/vmlinuz-" + id, "boot/initrd.img-" + id} {
		if err := os.MkdirAll(filepath.Join(root, "boot"), 0o755); err != nil {
			m.t.Fatal(err)
		}
		writeText(m.t, filepath.Join(root, name), strings.Repeat(name, 20000))
	}
	_, err := m.plugin.Install(m.t.Context(), sdk.Entry{
		ID: id, Title: "It's " + id, Root: root,
		Arguments: []string{"root=UUID=" + id, "odd=$x;{y}", "ro"}, TrialArguments: []string{"panic=10"},
	})
	m.must(err)
}

func (m *grubMachine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// powerCut gives a copy of the disk as it is now.
func (m *grubMachine) powerCut() string {
	m.t.Helper()
	image := filepath.Join(m.t.TempDir(), "cut.img")
	if output, err := exec.Command("cp", "--sparse=always", m.device.Image, image).CombinedOutput(); err != nil {
		m.t.Fatalf("%v: %s", err, output)
	}
	return image
}

// boot lets GRUB start from an image, or from a device, and gives what it would
// boot: the kernel's path and arguments.
func (m *grubMachine) boot(image string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	deviceMap := filepath.Join(m.t.TempDir(), "device.map")
	notes := m.newNotes()
	writeText(m.t, deviceMap, "(hd0) "+image+"\n(hd1) "+notes+"\n")
	start := "-r hd0 -d /grub"
	if m.esp != "" {
		writeText(m.t, deviceMap, "(hd0) "+image+"\n(hd1) "+notes+"\n(hd2) "+m.esp+"\n")
		start = "-r hd2 -d /EFI/debian"
	}
	// It wants a terminal; script gives it one.
	command := exec.CommandContext(ctx, "script", "-qec", "grub-emu -m "+deviceMap+" "+start, "/dev/null")
	command.Env = append(os.Environ(), "TERM=vt100")
	command.WaitDelay = time.Second
	var screen bytes.Buffer
	command.Stdout, command.Stderr = &screen, &screen
	if err := command.Run(); err != nil && ctx.Err() != nil {
		m.t.Fatalf("GRUB boots nothing: %v\n%q", err, screen.String())
	}
	data := m.readImage(notes, "result")
	block, err := grubenv.Parse(data)
	if err != nil {
		m.t.Fatalf("%v\n%q", err, screen.String())
	}
	result := func(name string) string { v, _ := block.Get(name); return strings.TrimSpace(v) }
	return fmt.Sprintf("%s %s", result("kernel"), result("arguments"))
}

// start lets GRUB start from the disk itself, which no one has mounted meanwhile.
func (m *grubMachine) start(t testing.TB) (id string, trial bool) {
	t.Helper()
	if err := loopback.Unmount(m.dir); err != nil {
		t.Fatal(err)
	}
	booted := m.boot(m.device.Path)
	if err := loopback.Mount(m.device.Path, m.dir, m.p.filesystem); err != nil {
		t.Fatal(err)
	}
	rest, ours := strings.CutPrefix(booted, "/tbupdate/")
	if !ours {
		return "", false
	}
	id, _, _ = strings.Cut(rest, "/")
	return id, strings.HasSuffix(booted, " panic=10")
}

// newNotes makes a disk that holds nothing but an empty environment block.
func (m *grubMachine) newNotes() string {
	m.t.Helper()
	image, content := filepath.Join(m.t.TempDir(), "notes.img"), m.t.TempDir()
	result, err := grubenv.Block{}.Bytes()
	m.must(err)
	writeText(m.t, filepath.Join(content, "result"), string(result))
	m.must(loopback.CreateImage(image, 1<<20))
	m.must(loopback.Format(m.t.Context(), image, loopback.Ext2, "-d", content))
	return image
}

// readImage reads a file of an image that is not mounted, with a third reader of
// ext filesystems.
func (m *grubMachine) readImage(image, path string) []byte {
	m.t.Helper()
	data, err := exec.Command("debugfs", "-R", "cat /"+path, image).Output()
	if err != nil {
		m.t.Fatalf("this test needs debugfs (apt-get install e2fsprogs): %v", err)
	}
	return data
}

// mountCopy mounts an image, which replays the journal.
func (m *grubMachine) mountCopy(image string) string {
	m.t.Helper()
	return loopback.Open(m.t, image, m.p.filesystem).Mount(m.t)
}

const (
	bootsForeign = "/vmlinuz-6.1 root=UUID=2 ro rootflags=subvol=snapshots/root quiet"
	bootsA       = "/tbupdate/a1/vmlinuz root=UUID=a1 odd=$x;{y} ro"
	bootsB       = "/tbupdate/b2/vmlinuz root=UUID=b2 odd=$x;{y} ro"
	triesB       = bootsB + " panic=10"
)

func TestGRUBDecides(t *testing.T) {
	for _, filesystem := range []loopback.Filesystem{loopback.Ext2, loopback.Ext3, loopback.Ext4} {
		t.Run(string(filesystem), func(t *testing.T) {
			m := newGRUBMachine(t, filesystem)
			playBoots(m.t, m, nil, []bootStep{
				{"fresh", func() {}, []string{bootsForeign}},
				{"a installed", func() { m.install("a1") }, []string{bootsForeign}},
				{"a default", func() { m.must(m.plugin.SetDefault(t.Context(), "a1")) }, []string{bootsA, bootsA}},
				{"b installed", func() { m.install("b2") }, []string{bootsA}},
				{"b armed", func() { m.must(m.plugin.Arm(t.Context(), "b2", 1)) }, []string{triesB, bootsA, bootsA}},
				{"disarmed", func() { m.must(m.plugin.Disarm(t.Context())) }, []string{bootsA}},
				{"b armed for three", func() { m.must(m.plugin.Arm(t.Context(), "b2", 3)) }, []string{triesB, triesB, triesB, bootsA, bootsA}},
				{"b armed for one after three", func() { m.must(m.plugin.Arm(t.Context(), "b2", 1)) }, []string{triesB, bootsA}},
				{"armed again", func() { m.must(m.plugin.Arm(t.Context(), "b2", 1)) }, []string{triesB, bootsA}},
				{"b default", func() { m.must(m.plugin.SetDefault(t.Context(), "b2")) }, []string{bootsB, bootsB}},
				{"a removed", func() { m.must(m.plugin.Remove(t.Context(), "a1")) }, []string{bootsB}},
			})
		})
	}
}

// A trial that GRUB noted as tried stays so when Linux replays the journal.
func TestTrialStaysUsedAfterJournalReplay(t *testing.T) {
	m := newGRUBMachine(t, loopback.Ext4)
	m.install("a1")
	m.must(m.plugin.SetDefault(t.Context(), "a1"))
	m.install("b2")
	m.must(m.plugin.Arm(t.Context(), "b2", 1))
	image := m.powerCut()
	if got := m.boot(image); got != triesB {
		t.Fatalf("boots %s", got)
	}
	state, err := openPlugin(t, m.mountCopy(image)).State(t.Context())
	m.must(err)
	if state.Trial != "" || state.Default != "a1" {
		t.Errorf("default %q, trial %q", state.Default, state.Trial)
	}
}

// A count that is not one is the last try, for the loader and for the plugin.
func TestGRUBTriesOnceWhatHasNoCount(t *testing.T) {
	for _, count := range []string{"", "0", "10", "-1", "x"} {
		t.Run(fmt.Sprintf("%q", count), func(t *testing.T) {
			m := newGRUBMachine(t, loopback.Ext4)
			m.install("a1")
			m.install("b2")
			m.must(m.plugin.SetDefault(t.Context(), "a1"))
			m.must(m.plugin.Arm(t.Context(), "b2", 5))
			path := filepath.Join(m.dir, "tbupdate", grubcfg.EnvironmentFile)
			block, err := grubenv.Parse(readBytes(t, path))
			m.must(err)
			block.Set(grubcfg.VariableTries, count)
			data, err := block.Bytes()
			m.must(err)
			writeText(t, path, string(data))
			state, err := m.plugin.State(t.Context())
			m.must(err)
			if state.Trial != "b2" || state.TriesLeft != 1 {
				t.Errorf("trial %q with %d tries left", state.Trial, state.TriesLeft)
			}
			playBoots(m.t, m, nil, []bootStep{{"without a count", func() { m.must(m.plugin.volume.Settle()) }, []string{triesB, bootsA, bootsA}}})
		})
	}
}

func TestGRUBWithDamage(t *testing.T) {
	tests := []struct {
		name   string
		damage func(m *grubMachine)
		want   string
	}{
		{"trial without kernel", func(m *grubMachine) {
			m.must(m.plugin.Arm(t.Context(), "b2", 1))
			m.must(os.Remove(filepath.Join(m.dir, "tbupdate/b2/vmlinuz")))
		}, bootsA},
		{"trial without scripts", func(m *grubMachine) {
			m.must(m.plugin.Arm(t.Context(), "b2", 1))
			m.must(os.Remove(filepath.Join(m.dir, "tbupdate/b2", grubcfg.TrialFile)))
		}, bootsA},
		{"trial with a menu that cannot be parsed", func(m *grubMachine) {
			m.must(m.plugin.Arm(t.Context(), "b2", 1))
			writeText(m.t, filepath.Join(m.dir, "tbupdate/b2", grubcfg.MenuFile), "menuentry 'x {\n\x00\xff if ; fi")
		}, bootsA},
		{"trial without kernel, several tries", func(m *grubMachine) {
			m.must(m.plugin.Arm(t.Context(), "b2", 2))
			m.must(os.Remove(filepath.Join(m.dir, "tbupdate/b2/vmlinuz")))
		}, bootsA},
		{"environment torn with tries left", func(m *grubMachine) {
			m.must(m.plugin.Arm(t.Context(), "b2", 9))
			writeText(m.t, filepath.Join(m.dir, "tbupdate/grubenv"), "# GRUB Environment Block\ntbupdate_default=a1\ntbupdate_trial=b2\ntbupdate_tr"+strings.Repeat("\x00", 940))
		}, bootsA},
		{"environment destroyed", func(m *grubMachine) {
			m.must(m.plugin.Arm(t.Context(), "b2", 1))
			writeText(m.t, filepath.Join(m.dir, "tbupdate/grubenv"), strings.Repeat("\x00", 1024))
		}, bootsA},
		{"environment empty", func(m *grubMachine) {
			writeText(m.t, filepath.Join(m.dir, "tbupdate/grubenv"), "")
		}, bootsA},
		{"default file destroyed", func(m *grubMachine) {
			writeText(m.t, filepath.Join(m.dir, "tbupdate/default.cfg"), strings.Repeat("\x00", 1024))
		}, bootsA},
		{"default without kernel", func(m *grubMachine) {
			m.must(m.plugin.SetDefault(t.Context(), "b2"))
			m.must(os.Remove(filepath.Join(m.dir, "tbupdate/b2/vmlinuz")))
		}, bootsA},
		{"default without directory", func(m *grubMachine) {
			m.must(m.plugin.SetDefault(t.Context(), "b2"))
			m.must(os.RemoveAll(filepath.Join(m.dir, "tbupdate/b2")))
		}, bootsA},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newGRUBMachine(t, loopback.Ext4)
			m.t = t
			m.install("a1")
			m.install("b2")
			m.must(m.plugin.SetDefault(t.Context(), "a1"))
			test.damage(m)
			playBoots(m.t, m, nil, []bootStep{{"damaged", func() { m.must(m.plugin.volume.Settle()) }, []string{test.want, test.want}}})
		})
	}
}

// A file that GRUB chooses by is damaged: State says so, and SetDefault of what boots puts
// it right, such that GRUB can try again. All that is installed is listed again.
func TestGRUBMendsWhatItChoosesBy(t *testing.T) {
	for _, file := range []string{grubcfg.EnvironmentFile, grubcfg.DefaultFile} {
		for name, damage := range map[string]func(path string) error{
			"destroyed": func(path string) error { return os.WriteFile(path, make([]byte, 1024), 0o644) },
			"empty":     func(path string) error { return os.Truncate(path, 0) },
			"gone":      os.Remove,
		} {
			t.Run(file+" "+name, func(t *testing.T) {
				m := newGRUBMachine(t, loopback.Ext4)
				m.t = t
				m.install("a1")
				m.install("b2")
				m.must(m.plugin.SetDefault(t.Context(), "a1"))
				m.must(damage(filepath.Join(m.dir, "tbupdate", file)))
				state, err := m.plugin.State(t.Context())
				m.must(err)
				if state.Default != "a1" || !strings.Contains(state.Damage, file) {
					t.Errorf("default %q, damage %q", state.Default, state.Damage)
				}
				m.must(m.plugin.SetDefault(t.Context(), "a1"))
				mended := conformance.Contents(t, m.dir)
				m.must(m.plugin.SetDefault(t.Context(), "a1"))
				if diff := cmp.Diff(mended, conformance.Contents(t, m.dir)); diff != "" {
					t.Errorf("the second time it changed:\n%s", diff)
				}
				state, err = m.plugin.State(t.Context())
				m.must(err)
				if state.Default != "a1" || state.Damage != "" || state.Entries[1].Problem != "" {
					t.Errorf("mended: %+v", state)
				}
				playBoots(m.t, m, nil, []bootStep{
					{"mended", func() {}, []string{bootsA}},
					{"b armed", func() { m.must(m.plugin.Arm(t.Context(), "b2", 1)) }, []string{triesB, bootsA}},
				})
			})
		}
	}
}

// Where GRUB cannot write, the trial would never be over: it is not begun.
func TestGRUBTriesNothingOnReadOnlyDisk(t *testing.T) {
	m := newGRUBMachine(t, loopback.Ext4)
	m.install("a1")
	m.install("b2")
	m.must(m.plugin.SetDefault(t.Context(), "a1"))
	m.must(m.plugin.Arm(t.Context(), "b2", 3))
	// Not blockdev --setro, which would outlive the test.
	output, err := exec.Command("losetup", "--read-only", "--find", "--show", m.powerCut()).Output()
	m.must(err)
	disk := strings.TrimSpace(string(output))
	t.Cleanup(func() {
		if output, err := exec.Command("losetup", "--detach", disk).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, output)
		}
	})
	for range 2 {
		if got := m.boot(disk); got != bootsA {
			t.Errorf("boots %q, want %q", got, bootsA)
		}
	}
}
