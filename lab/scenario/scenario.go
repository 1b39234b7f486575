// Package scenario runs the lab's stories: scripts that say what happens to a machine
// (an update, a kernel that panics, a power cut) and what must run afterwards, and
// that judge it by what the guest's kernel, btrfs-progs and the updater's own commands
// say.
//
// Each story is a testscript file in testdata. Its header says in which set it is and
// for which platforms; the commands are described at the type player.
package scenario

import (
	"bufio"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/lab/image"
)

//go:embed testdata/*.txtar
var stories embed.FS

// Set is a selection of stories. Each has those before it.
type Set string

// The sets.
const (
	SetCI   Set = "ci"   // what every change has to pass
	SetCore Set = "core" // make lab
	SetFull Set = "full" // make test-full
	// SetCrash cuts the power at every instant.
	SetCrash Set = "crash" // make crash-full
)

var sets = []Set{SetCI, SetCore, SetFull, SetCrash}

// Scenario is a story.
type Scenario struct {
	Name  string
	Title string // its first line
	// Sets say in which set the story is run, by platform; "*" stands for all
	// others. A platform without a set does not run it.
	Sets map[string]Set
	text []byte
}

// All reads the stories.
func All() ([]Scenario, error) {
	files, err := fs.Glob(stories, "testdata/*.txtar")
	if err != nil {
		return nil, err
	}
	var all []Scenario
	for _, file := range files {
		text, err := stories.ReadFile(file)
		if err != nil {
			return nil, err
		}
		s, err := parse(strings.TrimSuffix(path.Base(file), ".txtar"), string(text))
		if err != nil {
			return nil, fmt.Errorf("cannot parse %s: %w", file, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// parse reads a story's header: comment lines, of which the first is the title, and
// those that name a set list platforms: "# core: grub extlinux", "# full: *".
func parse(name, text string) (Scenario, error) {
	s := Scenario{Name: name, Sets: map[string]Set{}, text: []byte(text)}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		comment, ok := strings.CutPrefix(lines.Text(), "# ")
		if !ok {
			break
		}
		if s.Title == "" {
			s.Title = comment
		}
		set, platforms, ok := strings.Cut(comment, ":")
		if !ok || !slices.Contains(sets, Set(set)) {
			continue
		}
		for platform := range strings.FieldsSeq(platforms) {
			if _, twice := s.Sets[platform]; twice {
				return Scenario{}, fmt.Errorf("%s is in two sets", platform)
			}
			s.Sets[platform] = Set(set)
		}
	}
	if len(s.Sets) == 0 {
		return Scenario{}, fmt.Errorf("its header names no set (%v) with platforms", sets)
	}
	return s, nil
}

// in says whether the story belongs to a set on a platform.
func (s Scenario) in(set Set, platform string) bool {
	own, ok := s.Sets[platform]
	if !ok {
		own, ok = s.Sets["*"]
	}
	return ok && slices.Index(sets, own) <= slices.Index(sets, set)
}

// Case is a story on a platform.
type Case struct {
	Scenario Scenario
	Platform image.Platform
}

// Name is how reports call the case.
func (c Case) Name() string { return c.Scenario.Name + "/" + c.Platform.Name }

// Cases lists what belongs to a set.
func Cases(set Set) ([]Case, error) {
	if !slices.Contains(sets, set) {
		return nil, fmt.Errorf("unknown set %q: there are %v", set, sets)
	}
	all, err := All()
	if err != nil {
		return nil, err
	}
	var cases []Case
	for _, platform := range image.All() {
		for _, s := range all {
			if s.in(set, platform.Name) {
				cases = append(cases, Case{s, platform})
			}
		}
	}
	return cases, nil
}
