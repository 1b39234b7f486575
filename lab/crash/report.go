package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Table gives results as a table in Markdown.
func Table(results []Result) string {
	var b strings.Builder
	b.WriteString("| what happens | boot loader | states | of these torn | clean | what they boot |\n|---|---|--:|--:|--:|---|\n")
	states, torn, clean := 0, 0, 0
	for _, r := range results {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %s |\n", r.What, r.Loader, r.States, r.Torn, r.Clean(), boots(r.Boots))
		states += r.States
		torn += r.Torn
		clean += r.Clean()
	}
	fmt.Fprintf(&b, "| **all** | | **%d** | **%d** | **%d** | |\n", states, torn, clean)
	return b.String()
}

func boots(counts map[string]int) string {
	var all []string
	for _, system := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%s: %d", system, counts[system]))
	}
	return strings.Join(all, ", ")
}

// What is published: the results of the last run of each case, and the page that has them as a table between
// these lines.
const (
	publishedResults = "reliability.json"
	publishedPage    = "reliability.md"

	tableBegin = "<!-- what follows is written by make crash-full PUBLISH=docs -->\n"
	tableEnd   = "<!-- until here -->\n"
)

// Publish puts results in the place of their cases' last ones in the directory, and writes the table of its page anew.
func Publish(directory string, fresh []Result) error {
	results, err := published(directory)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot publish: %w", err)
	}
	results = inOrder(append(fresh[:len(fresh):len(fresh)], results...))
	document, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	page, err := os.ReadFile(filepath.Join(directory, publishedPage))
	if err != nil {
		return fmt.Errorf("cannot publish: %w", err)
	}
	before, _, begins := strings.Cut(string(page), tableBegin)
	_, after, ends := strings.Cut(string(page), tableEnd)
	if !begins || !ends {
		return fmt.Errorf("cannot publish: %s has no place for the table", publishedPage)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(directory, publishedResults), append(document, '\n'), 0o644),
		os.WriteFile(filepath.Join(directory, publishedPage), []byte(before+tableBegin+"\n"+Table(results)+"\n"+tableEnd+after), 0o644))
}

// published gives the results that the directory has.
func published(directory string) (results []Result, err error) {
	document, err := os.ReadFile(filepath.Join(directory, publishedResults))
	if err == nil {
		err = json.Unmarshal(document, &results)
	}
	return results, err
}

// inOrder gives the first result of each case that there is, in the order of the cases.
func inOrder(results []Result) (all []Result) {
	for _, c := range Cases() {
		if i := slices.IndexFunc(results, func(r Result) bool { return r.of(c) }); i >= 0 {
			all = append(all, results[i])
		}
	}
	return all
}
