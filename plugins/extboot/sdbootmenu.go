package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/bls"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// menu is what systemd-boot finds on the disk and in EFI variables.
type menu struct {
	entries  []bls.Read // that it lists: with a kernel that is there
	missing  []bls.Read // of ours, that it would list if their kernel were there
	files    []string   // names of entry files of ours, listed or not
	config   string     // content of loader.conf
	oneShot  string     // of the EFI variables
	variable string
}

func (s *sdbootLoader) readMenu() (menu, error) {
	m := menu{oneShot: s.variables.get(variableOneShot), variable: s.variables.get(variableDefault)}
	var err error
	if m.config, err = readText(s.esp.Path(sdbootConfig)); err != nil {
		return menu{}, err
	}
	if err := m.add(s.volume); err != nil {
		return menu{}, err
	}
	if s.esp != s.volume {
		err = m.add(s.esp)
	}
	return m, err
}

// add adds the entries of a filesystem, whose kernels are on the same one.
func (m *menu) add(volume bootdir.Volume) error {
	files, err := entryFiles(volume)
	if err != nil {
		return err
	}
	for _, file := range files {
		_, ours := bls.ParseName(file)
		if ours {
			m.files = append(m.files, file)
		}
		text, err := readText(volume.Path(sdbootEntries, file))
		if err != nil {
			return err
		}
		read := bls.Parse(text)
		read.File = file
		switch {
		case read.Kernel == "":
		case exists(volume.Path(read.Kernel)):
			m.entries = append(m.entries, read)
		case ours:
			m.missing = append(m.missing, read)
		}
	}
	return nil
}

// entryFiles gives the names of what systemd-boot takes for entries on a filesystem.
func entryFiles(volume bootdir.Volume) ([]string, error) {
	names, err := os.ReadDir(volume.Path(sdbootEntries))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var files []string
	for _, name := range names {
		file := name.Name()
		if strings.HasSuffix(strings.ToLower(file), ".conf") && !strings.HasPrefix(file, "auto-") && file[0] != '.' && name.Type().IsRegular() {
			files = append(files, file)
		}
	}
	return files, nil
}

// choose gives what boots, with or without trials that are armed. What others want to
// boot once, by the variable LoaderEntryOneShot, is left out: Check tells of it.
func (m menu) choose(withTrial bool) (bls.Read, bool) {
	entries := m.entries
	if !withTrial {
		entries = slices.DeleteFunc(slices.Clone(entries), isArmed)
	}
	return bls.Choose(entries, m.variable, bls.Default(m.config))
}

// isArmed tells a trial that has tries left.
func isArmed(entry bls.Read) bool {
	name, ours := bls.ParseName(entry.File)
	return ours && name.Trial && name.Left > 0
}

// ours gives all entries of ours, also those without their kernel.
func (m menu) ours() []bls.Read {
	return slices.DeleteFunc(slices.Concat(m.entries, m.missing), func(e bls.Read) bool {
		_, ok := bls.ParseName(e.File)
		return !ok
	})
}

// first gives what is the default as far as our own files say.
func (m menu) first() (bls.Read, bool) {
	ours := slices.DeleteFunc(m.ours(), func(e bls.Read) bool {
		name, _ := bls.ParseName(e.File)
		return isArmed(e) || name.Left == 0
	})
	return bls.Choose(ours)
}

// read gives all but a trial by the variable LoaderEntryOneShot.
func (m menu) read() bootdir.Choice {
	var now bootdir.Choice
	for _, file := range m.files {
		if name, _ := bls.ParseName(file); !name.Trial && name.Left == bls.Uncounted {
			now.Listed = append(now.Listed, name.ID)
		}
	}
	for _, entry := range m.ours() {
		if name, _ := bls.ParseName(entry.File); isArmed(entry) {
			now.Held = append(now.Held, name.ID)
		}
	}
	chosen, any := m.choose(false)
	if name, ours := bls.ParseName(chosen.File); any && ours {
		now.Default = name.ID
	} else if any {
		now.Foreign = strings.ToLower(chosen.File)
	} else {
		now.Foreign = "what systemd-boot finds by itself"
	}
	if first, any := m.first(); any {
		name, _ := bls.ParseName(first.File)
		now.Held = append(now.Held, name.ID)
		if now.Default != name.ID && slices.ContainsFunc(m.entries, func(e bls.Read) bool { return e.File == first.File }) {
			now.Problem = m.overruled()
		}
	}
	if now.Default != "" {
		now.Held = append(now.Held, now.Default)
	}
	if next, any := m.choose(true); any && isArmed(next) {
		name, _ := bls.ParseName(next.File)
		now.Trial, now.TriesLeft = name.ID, name.Left
	}
	return now
}

// overruled says what chooses another entry than the first of ours.
func (m menu) overruled() string {
	switch {
	case m.variable != "":
		return fmt.Sprintf("the EFI variable LoaderEntryDefault, which counts more than any file, says %s; take it back with: bootctl set-default ''", m.variable)
	case bls.Default(m.config) != "" && bls.Default(m.config) != bls.Pattern:
		return fmt.Sprintf("%s says that the default is %q", sdbootConfig, bls.Default(m.config))
	}
	return fmt.Sprintf("an entry of others stands before those of tbupdate, and %s does not say default %s", sdbootConfig, bls.Pattern)
}

// asked gives the id of the trial of ours that the variable names, "" for none. Without
// a file of that name, the default boots.
func (m menu) asked() string {
	if name, ours := bls.ParseName(m.oneShot); ours && name.Trial {
		return name.ID
	}
	return ""
}
