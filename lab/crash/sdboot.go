package crash

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// sdboot is systemd-boot with all on the EFI system partition, written down from its documentation (man systemd-boot
// and loader.conf, version 252; the Boot Loader Specification): no program does on a host what it does.
//
// That partition is FAT, which the kernel of a host may not know. Here it is ext4 without a journal, which FAT does not
// have either: what is written and when is as it would be, what a torn write makes of names is not. The machines of
// lab/scenario have FAT.
type sdboot struct{}

func (sdboot) name() string { return "systemd-boot" }
func (sdboot) counts() bool { return true }
func (sdboot) unjournaled() {}

const (
	sdbootConfig  = "loader/loader.conf"
	sdbootEntries = "loader/entries"
	// sdbootInstalled is the entry of the installed system.
	sdbootInstalled = "title Installed system\nsort-key installed\nlinux /%s\ninitrd /%s\noptions root=LABEL=root rootflags=subvol=" + installed + " ro quiet\n"
)

func (sdboot) install(_ context.Context, _ *disk, top string, s *system) error {
	if err := putEntry(top, s); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(top, sdbootConfig), []byte("timeout 0\n"), 0o644)
}

// putEntry puts the kernel of a system and an entry for it onto a partition.
func putEntry(top string, s *system) error {
	kernel, initrd, err := putKernel(top, s)
	if err != nil {
		return err
	}
	entries := filepath.Join(top, sdbootEntries)
	if err := os.MkdirAll(entries, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(entries, "installed.conf"), fmt.Appendf(nil, sdbootInstalled, kernel, initrd), 0o644)
}

func (sdboot) config(d *disk) string {
	return fmt.Sprintf("[boot]\nplugin = \"extboot\"\n[boot.config]\nloader = \"systemd-boot\"\nesp = %q\n", d.mounts[d.boot])
}

func (sdboot) prepare(ctx context.Context, d *disk) error { return d.mount(ctx, d.boot) }

func (sdboot) start(ctx context.Context, d *disk) (started, error) {
	if err := d.unmount(); err != nil {
		return started{}, err
	}
	menu, err := readMenu(ctx, d.boot, d.boot)
	if err != nil {
		return started{}, err
	}
	entry, err := menu.choose(ctx, "")
	if err != nil {
		return started{}, err
	}
	if counted := entry.countedDown(); counted != entry.file {
		err := loopback.Mounted(d.boot, loopback.Ext4, func(top string) error {
			directory := filepath.Join(top, sdbootEntries)
			return os.Rename(filepath.Join(directory, entry.file), filepath.Join(directory, counted))
		})
		if err != nil {
			return started{}, err
		}
	}
	return menu.boot(ctx, entry)
}

// sdbootMenu is what systemd-boot finds when it starts.
type sdbootMenu struct {
	device  string        // with the entries, and their kernels
	entries []sdbootEntry // in order
	first   string        // of loader.conf, the pattern of the default; "" for none
}

// readMenu reads the entries of a device, and the loader.conf of the EFI system partition.
func readMenu(ctx context.Context, device, esp string) (sdbootMenu, error) {
	m := sdbootMenu{device: device}
	work, err := os.MkdirTemp(inMemory, "lab-crash-sdboot-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(work)
	// Without a loader.conf nothing is configured.
	if config, err := onDevice(ctx, esp, "/"+sdbootConfig); err == nil {
		m.first = sdbootFields(string(config))["default"]
	}
	if err := run(ctx, "debugfs", "-R", fmt.Sprintf("rdump /%s %s", sdbootEntries, work), device); err != nil {
		return m, err
	}
	directory := filepath.Join(work, path.Base(sdbootEntries))
	files, err := os.ReadDir(directory)
	if err != nil {
		return m, err
	}
	for _, file := range files {
		if !file.Type().IsRegular() || strings.HasPrefix(file.Name(), ".") || strings.HasPrefix(file.Name(), "auto-") || path.Ext(file.Name()) != ".conf" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(directory, file.Name()))
		if err != nil {
			return m, err
		}
		m.entries = append(m.entries, newSdbootEntry(file.Name(), string(text)))
	}
	slices.SortFunc(m.entries, sdbootEntry.compare)
	return m, nil
}

// sdbootFields gives the fields of a file; of one that is there more than once the last.
func sdbootFields(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, found := strings.Cut(strings.TrimSpace(line), " ")
		if found && !strings.HasPrefix(key, "#") {
			fields[key] = strings.TrimSpace(value)
		}
	}
	return fields
}

// sdbootEntry is an entry.
type sdbootEntry struct {
	file       string
	fields     map[string]string
	base       string // of the file's name, without counter and suffix
	counted    bool   // it has a counter
	left, done int
}

// newSdbootEntry reads an entry and its counter: NAME+LEFT.conf or NAME+LEFT-DONE.conf.
func newSdbootEntry(file, text string) sdbootEntry {
	e := sdbootEntry{file: file, fields: sdbootFields(text), base: strings.TrimSuffix(file, ".conf")}
	at := strings.LastIndex(e.base, "+")
	if at < 0 {
		return e
	}
	left, done, hasDone := strings.Cut(e.base[at+1:], "-")
	var err1, err2 error
	if e.left, err1 = strconv.Atoi(left); hasDone {
		e.done, err2 = strconv.Atoi(done)
	}
	if err1 == nil && err2 == nil {
		e.base, e.counted = e.base[:at], true
	}
	return e
}

// countedDown gives the name that a file has after a try.
func (e sdbootEntry) countedDown() string {
	if !e.counted || e.left == 0 {
		return e.file
	}
	return fmt.Sprintf("%s+%d-%d.conf", e.base, e.left-1, e.done+1)
}

// compare orders entries: those without tries left are the last, those with a sort key come before those without,
// by it, the newest version first. All versions here have the same number of digits.
func (e sdbootEntry) compare(other sdbootEntry) int {
	last := func(e sdbootEntry) int {
		if e.counted && e.left == 0 {
			return 1
		}
		return 0
	}
	key, otherKey := e.fields["sort-key"], other.fields["sort-key"]
	switch order := last(e) - last(other); {
	case order != 0:
		return order
	case key == "" && otherKey == "":
		return -strings.Compare(e.file, other.file)
	case key == "":
		return 1
	case otherKey == "":
		return -1
	default:
		return cmp.Or(strings.Compare(key, otherKey), -strings.Compare(e.fields["version"], other.fields["version"]), -strings.Compare(e.file, other.file))
	}
}

// choose gives the entry that boots: the one that is to be booted once, the default, or the first. Those whose
// kernel is not there are none.
func (m sdbootMenu) choose(ctx context.Context, once string) (sdbootEntry, error) {
	m.entries = slices.DeleteFunc(m.entries, func(e sdbootEntry) bool {
		_, err := onDevice(ctx, m.device, e.fields["linux"])
		return e.fields["linux"] == "" || err != nil
	})
	for _, pattern := range []string{once, m.first, "*"} {
		for _, e := range m.entries {
			if matches, err := path.Match(pattern, e.file); err == nil && matches {
				return e, nil
			}
		}
	}
	return sdbootEntry{}, errors.New("systemd-boot finds no entry")
}

// boot starts an entry.
func (m sdbootMenu) boot(ctx context.Context, e sdbootEntry) (s started, err error) {
	s.arguments = e.fields["options"]
	if s.image, err = digestOnDevice(ctx, m.device, e.fields["linux"]); err != nil {
		return s, err
	}
	s.initrd, err = digestOnDevice(ctx, m.device, e.fields["initrd"])
	return s, err
}
