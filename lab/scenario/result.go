package scenario

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is what came of a case.
type Result struct {
	Scenario string  `json:"scenario"`
	Platform string  `json:"platform"`
	Passed   bool    `json:"passed"`
	Boots    int     `json:"boots"`
	Seconds  float64 `json:"seconds"`
	// States is how many states were looked at that a loss of power could have left, and Booted how many of
	// them were booted.
	States int `json:"states,omitempty"`
	Booted int `json:"booted,omitempty"`
	// Recoveries are the times from each failure until the system that the machine
	// came back to was up, in seconds.
	Recoveries []Recovery `json:"recoveries"`
}

// Recovery is one failure that the machine got over by itself.
type Recovery struct {
	Failure string  `json:"failure"` // what happened
	Seconds float64 `json:"seconds"` // until the old system was up again
}

// Table shows results for people.
func Table(results []Result) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SCENARIO\tPLATFORM\tRESULT\tBOOTS\tTIME\tFAILURE -> RUNNING AGAIN")
	var total time.Duration
	for _, r := range results {
		verdict := "ok"
		if !r.Passed {
			verdict = "FAILED"
		}
		took := time.Duration(r.Seconds * float64(time.Second))
		total += took
		var recoveries []string
		for _, recovery := range r.Recoveries {
			recoveries = append(recoveries, fmt.Sprintf("%s: %.1f s", recovery.Failure, recovery.Seconds))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%.0f s\t%s\n", r.Scenario, r.Platform, verdict, r.Boots, r.Seconds, strings.Join(recoveries, "; "))
	}
	fmt.Fprintf(w, "%d cases\t\t\t\t%.0f s\t\n", len(results), total.Seconds())
	w.Flush()
	return text.String()
}
