package grubcfg

import (
	"fmt"
	"strings"
)

// Names of the files of GRUB's own directory that have a part in this.
const (
	ConfigFile = "grub.cfg"
	CustomFile = "custom.cfg" // sourced at the end by what grub-mkconfig writes (41_custom)
)

const (
	hookBegin = "### BEGIN tbupdate ###"
	hookEnd   = "### END tbupdate ###"
)

// Hook is the block of CustomFile that finds the boot filesystem and sources the
// include. It goes by the UUID, since $root at that point is whatever grub.cfg
// searched for last (a font, for one).
func Hook(uuid string) string {
	return fmt.Sprintf(`%s
search --no-floppy --fs-uuid --set=tbupdate_boot %s
if [ -s "($tbupdate_boot)/tbupdate/tbupdate.cfg" ]; then
	source "($tbupdate_boot)/tbupdate/tbupdate.cfg"
fi
%s
`, hookBegin, uuid, hookEnd)
}

// AddHook gives a CustomFile with the hook of this filesystem as its last lines;
// everything foreign stays.
func AddHook(custom, uuid string) string {
	rest := removeHook(custom)
	if rest != "" && !strings.HasSuffix(rest, "\n") {
		rest += "\n"
	}
	return rest + Hook(uuid)
}

// HasHook reports whether the file ends with the hook of this filesystem, so that
// nothing after it changes what it chose.
func HasHook(custom, uuid string) bool {
	return strings.HasSuffix(custom, Hook(uuid)) && strings.Count(custom, hookBegin) == 1
}

func removeHook(custom string) string {
	for {
		before, rest, ok := strings.Cut(custom, hookBegin)
		if !ok {
			return custom
		}
		_, after, ok := strings.Cut(rest, hookEnd)
		if !ok {
			return before
		}
		custom = before + strings.TrimPrefix(after, "\n")
	}
}

// MinimalConfig is the ConfigFile for a GRUB that has none.
func MinimalConfig() string {
	return `# Written by tbupdate, since there was none.
set timeout=2
if [ -s "$prefix/custom.cfg" ]; then
	source "$prefix/custom.cfg"
fi
`
}

// Foreign is what this plugin has to know of a ConfigFile that it did not write.
type Foreign struct {
	// SourcesCustom: CustomFile is read, and nothing after it sets the default.
	SourcesCustom bool
	// Default is the last value that is set as default, as written; "0" when none
	// is.
	Default string
	// Entries are the menu entries with the command line of their kernel.
	Entries []ForeignEntry
}

// ForeignEntry is one menu entry that loads a kernel.
type ForeignEntry struct {
	Title       string
	CommandLine string // all words after the kernel
}

// ParseForeign reads a ConfigFile line by line. GRUB's script language cannot be
// read without running it; this recognises what grub-mkconfig and people write.
func ParseForeign(config string) Foreign {
	foreign := Foreign{Default: "0"}
	title := ""
	for line := range strings.Lines(config) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		switch words[0] {
		case "source", ".":
			if len(words) > 1 && strings.HasSuffix(strings.Trim(words[1], `"';`), "/"+CustomFile) {
				foreign.SourcesCustom = true
			}
		case "set":
			if value, ok := cutAssignment(words, "default"); ok {
				foreign.Default = value
				foreign.SourcesCustom = false
			}
		case "menuentry":
			title = entryTitle(line)
		case "linux", "linux16", "linuxefi":
			if len(words) > 1 {
				foreign.Entries = append(foreign.Entries, ForeignEntry{title, strings.Join(words[2:], " ")})
			}
		}
	}
	return foreign
}

func cutAssignment(words []string, name string) (string, bool) {
	if len(words) < 2 {
		return "", false
	}
	value, ok := strings.CutPrefix(words[1], name+"=")
	return strings.Trim(value, `"';`), ok
}

// entryTitle gives the first quoted word of a menuentry line, or else the first.
func entryTitle(line string) string {
	_, rest, _ := strings.Cut(line, "menuentry")
	rest = strings.TrimSpace(rest)
	if rest == "" {
		return ""
	}
	if quote := rest[0]; quote == '\'' || quote == '"' {
		title, _, _ := strings.Cut(rest[1:], string(quote))
		return title
	}
	return strings.Fields(rest)[0]
}
