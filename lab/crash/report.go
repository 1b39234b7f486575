package crash

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Table gives results as a table in Markdown.
func Table(results []Result) string {
	var b strings.Builder
	b.WriteString("| what happens | boot loader | states | clean | what they boot |\n|---|---|--:|--:|---|\n")
	states, clean := 0, 0
	for _, r := range results {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %s |\n", r.What, r.Loader, r.States, r.Clean(), boots(r.Boots))
		states += r.States
		clean += r.Clean()
	}
	fmt.Fprintf(&b, "| **all** | | **%d** | **%d** | |\n", states, clean)
	return b.String()
}

func boots(counts map[string]int) string {
	var all []string
	for _, system := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%s: %d", system, counts[system]))
	}
	return strings.Join(all, ", ")
}
