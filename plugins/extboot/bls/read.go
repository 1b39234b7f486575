package bls

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

// Read is what systemd-boot reads in an entry file, of ours or of others.
type Read struct {
	File        string // name; lower-case, it is the entry's id
	Title       string
	SortKey     string
	Version     string
	MachineID   string
	Kernel      string // of "linux" or "efi", without a leading slash; "" means no entry
	CommandLine string
}

// Parse reads the content of an entry file. File stays empty.
func Parse(text string) Read {
	var r Read
	for line := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == '\n' || c == '\r' }) {
		key, value, ok := cutLine(line)
		if !ok {
			continue
		}
		switch key {
		case "title":
			r.Title = value
		case "sort-key":
			r.SortKey = value
		case "version":
			r.Version = value
		case "machine-id":
			r.MachineID = value
		case "linux", "efi":
			r.Kernel = strings.TrimPrefix(path.Clean(strings.ReplaceAll(value, `\`, "/")), "/")
		case "options":
			r.CommandLine = strings.TrimSpace(r.CommandLine + " " + value)
		}
	}
	return r
}

// cutLine gives a line's key and value, ok false for comments and keys alone.
func cutLine(line string) (key, value string, ok bool) {
	line = strings.Trim(line, " \t")
	if line == "" || line[0] == '#' {
		return "", "", false
	}
	at := strings.IndexAny(line, " \t")
	if at < 0 {
		return "", "", false
	}
	key, value = line[:at], strings.TrimLeft(line[at:], " \t")
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return key, value, true
}

// Sort puts entries in the order of systemd-boot's menu.
func Sort(entries []Read) { slices.SortStableFunc(entries, compare) }

// compare follows config_entry_compare: what has no tries left comes last, what has a
// sort key before what has none.
func compare(a, b Read) int {
	leftA, doneA := Tries(a.File)
	leftB, doneB := Tries(b.File)
	order := cmp.Or(boolOrder(leftA == 0, leftB == 0), boolOrder(a.SortKey == "", b.SortKey == ""))
	if order == 0 && a.SortKey != "" {
		order = cmp.Or(strings.Compare(a.SortKey, b.SortKey), strings.Compare(a.MachineID, b.MachineID), kernelset.CompareVersions(b.Version, a.Version))
	}
	if order = cmp.Or(order, kernelset.CompareVersions(b.File, a.File)); order != 0 || leftA < 0 || leftB < 0 {
		return order
	}
	return cmp.Or(cmp.Compare(leftB, leftA), cmp.Compare(doneA, doneB))
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// Choose gives the entry that systemd-boot boots: the first, in order, whose id
// matches the first of the patterns that matches any, or else the first of all.
// Patterns that are "" match nothing.
func Choose(entries []Read, patterns ...string) (Read, bool) {
	sorted := slices.Clone(entries)
	Sort(sorted)
	for _, pattern := range patterns {
		for _, entry := range sorted {
			if ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(entry.File)); ok && err == nil && pattern != "" {
				return entry, true
			}
		}
	}
	if len(sorted) == 0 {
		return Read{}, false
	}
	return sorted[0], true
}
