// Package health finds out whether a system that has just come up is what it should
// be: it runs the operator's checks, which are executables in a directory, and those
// that are built in.
//
// All checks are run, one after the other, whatever the others say: a report that
// ends at the first failure would hide the rest. One that fails is repeated until
// the time to settle is over, since a service may take a moment; without such a time
// once is enough.
package health

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// pause is how long a check that failed is left alone before it is repeated.
const pause = time.Second

// Check is one thing to find out. Run returns nil for a healthy system, or says in a
// clause what is wrong. What it writes to output is kept for people. It ends soon
// after ctx does.
type Check struct {
	Name string
	Run  func(ctx context.Context, output io.Writer) error
}

// Suite is what a system has to pass.
type Suite struct {
	Checks []Check
	// Timeout limits each run of each check.
	Timeout time.Duration
	// Settle is how long checks that fail are repeated.
	Settle time.Duration
	// Started, where it is set, is told of each check before it runs first.
	Started func(name string)
}

// Result is what became of one check. The JSON names are a contract.
type Result struct {
	Name   string `json:"name"`
	Passed bool   `json:"passed"`
	// Reason says in a clause why it did not pass; "" when it did.
	Reason string `json:"reason,omitempty"`
	// Output is the end of what the last attempt printed.
	Output   string  `json:"output,omitempty"`
	Seconds  float64 `json:"seconds"`
	Attempts int     `json:"attempts"`
}

// Report is what became of all checks, in their order.
type Report struct {
	Healthy bool     `json:"healthy"`
	Checks  []Result `json:"checks"`
}

// Run runs all checks. It returns an error only when ctx ended before they did.
func (s *Suite) Run(ctx context.Context) (Report, error) {
	began := time.Now()
	report := Report{Checks: make([]Result, len(s.Checks))}
	for attempt := 1; ; attempt++ {
		failing := 0
		for i, check := range s.Checks {
			result := &report.Checks[i]
			if result.Passed {
				continue
			}
			if attempt == 1 && s.Started != nil {
				s.Started(check.Name)
			}
			*result = s.attempt(ctx, check, result.Seconds, attempt)
			if ctx.Err() != nil {
				return report, context.Cause(ctx)
			}
			if !result.Passed {
				failing++
			}
		}
		report.Healthy = failing == 0
		if report.Healthy || time.Since(began)+pause > s.Settle {
			return report, nil
		}
		select {
		case <-ctx.Done():
			return report, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// attempt runs a check once.
func (s *Suite) attempt(ctx context.Context, check Check, before float64, attempt int) Result {
	limited, cancel := context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("it did not end within %s", s.Timeout))
	defer cancel()
	var output tail
	began := time.Now()
	err := check.Run(limited, &output)
	result := Result{
		Name: check.Name, Passed: err == nil, Output: output.String(), Attempts: attempt,
		Seconds: before + time.Since(began).Seconds(),
	}
	if err != nil {
		result.Reason = err.Error()
		if limited.Err() != nil {
			result.Reason = context.Cause(limited).Error()
		}
	}
	return result
}

// Reason says in a clause why the report is not healthy, "" when it is: the first
// check that failed, and how many more.
func (r Report) Reason() string {
	var failed []Result
	for _, result := range r.Checks {
		if !result.Passed {
			failed = append(failed, result)
		}
	}
	if len(failed) == 0 {
		return ""
	}
	reason := fmt.Sprintf("health check %s failed: %s", failed[0].Name, failed[0].Reason)
	if more := len(failed) - 1; more > 0 {
		names := make([]string, more)
		for i := range names {
			names[i] = failed[i+1].Name
		}
		reason += fmt.Sprintf(" (and %s)", strings.Join(names, ", "))
	}
	return reason
}

// Text writes the report for people: a line for each check, and below it what it
// printed, indented.
func (r Report) Text() string {
	var text strings.Builder
	for _, result := range r.Checks {
		verdict := "passed"
		if !result.Passed {
			verdict = "FAILED"
		}
		fmt.Fprintf(&text, "%s  %s  (%.1f s", verdict, result.Name, result.Seconds)
		if result.Attempts > 1 {
			fmt.Fprintf(&text, ", %d attempts", result.Attempts)
		}
		text.WriteString(")")
		if result.Reason != "" {
			fmt.Fprintf(&text, ": %s", result.Reason)
		}
		text.WriteString("\n")
		for line := range strings.Lines(result.Output) {
			fmt.Fprintf(&text, "    %s\n", strings.TrimRight(line, "\n"))
		}
	}
	return text.String()
}
