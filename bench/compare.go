package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strings"
	"time"
)

// Measurement is one side of a comparison.
type Measurement struct {
	Command string    `json:"command"`
	Seconds []float64 `json:"seconds"` // of each run, in the order they ran
	// PeakBytes is the most memory that the program and its children had resident
	// in one of the runs; 0 where nobody looked.
	PeakBytes int64 `json:"peak_bytes,omitempty"`
}

// Median gives the middle run, in seconds.
func (m Measurement) Median() float64 {
	sorted := append([]float64(nil), m.Seconds...)
	sort.Float64s(sorted)
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Spread gives the fastest and the slowest run, in seconds.
func (m Measurement) Spread() (fastest, slowest float64) {
	sorted := append([]float64(nil), m.Seconds...)
	sort.Float64s(sorted)
	return sorted[0], sorted[len(sorted)-1]
}

// Comparison is one program of ours against the plain way.
type Comparison struct {
	Name  string      `json:"name"`
	Ours  Measurement `json:"ours"`
	Plain Measurement `json:"plain"`
	Bar   float64     `json:"bar"`   // the highest ratio that is good enough
	Ratio float64     `json:"ratio"` // of the medians, ours to plain
}

// Met reports whether the ratio is within the bar.
func (c Comparison) Met() bool { return c.Ratio <= c.Bar }

// side is how one side of a comparison is run.
type side struct {
	command     []string
	label       string
	memory      bool                        // find out the peak of the command's memory
	environment []string                    // nil for this program's
	prepare     func(context.Context) error // before each run, not measured
	finish      func() error                // part of what is measured; nil for nothing
}

// compare runs both sides in turn, so that a change of the machine's mood meets
// both.
func compare(ctx context.Context, name string, bar float64, runs int, ours, plain side) (Comparison, error) {
	c := Comparison{Name: name, Bar: bar, Ours: Measurement{Command: ours.label}, Plain: Measurement{Command: plain.label}}
	for i := range runs + 1 {
		warmUp := i == 0
		if err := ours.runInto(ctx, &c.Ours, warmUp); err != nil {
			return Comparison{}, err
		}
		if err := plain.runInto(ctx, &c.Plain, warmUp); err != nil {
			return Comparison{}, err
		}
	}
	c.Ratio = c.Ours.Median() / c.Plain.Median()
	return c, nil
}

func (s side) runInto(ctx context.Context, m *Measurement, warmUp bool) error {
	if s.prepare != nil {
		if err := s.prepare(ctx); err != nil {
			return err
		}
	}
	var stderr strings.Builder
	command := exec.CommandContext(ctx, s.command[0], s.command[1:]...)
	if command.Env = s.environment; s.environment == nil {
		command.Env = append(os.Environ(), "LC_ALL=C")
	}
	command.Stderr = &stderr

	start := time.Now()
	err := command.Start()
	if err == nil && s.memory {
		m.PeakBytes = max(m.PeakBytes, watchMemory(command.Process.Pid))
	}
	if err == nil {
		err = command.Wait()
	}
	if err == nil && s.finish != nil {
		err = s.finish()
	}
	elapsed := time.Since(start).Seconds()
	if err != nil {
		return fmt.Errorf("cannot measure %q: %w: %s", s.label, err, strings.TrimSpace(stderr.String()))
	}
	if !warmUp {
		m.Seconds = append(m.Seconds, elapsed)
	}
	return nil
}

// compareCreate measures making the stream against reading both trees once.
func compareCreate(ctx context.Context, s settings, oldTree, newTree, stream string) (Comparison, error) {
	ours := side{
		command: []string{s.tbdiff, "create", "--format", "v0", "-o", stream, oldTree, newTree},
		label:   fmt.Sprintf("tbdiff create %s %s", s.old, s.new),
		memory:  true,
		prepare: func(context.Context) error {
			return ignoreMissing(os.Remove(stream))
		},
	}
	plain := side{
		command: []string{"sh", "-c", `find "$1" "$2" -type f -print0 | xargs -0 cat >/dev/null`, "sh", oldTree, newTree},
		label:   fmt.Sprintf("find %s %s -type f -print0 | xargs -0 cat", s.old, s.new),
	}
	return compare(ctx, "create", createBar, s.runs, ours, plain)
}

// compareApply measures applying the stream onto a fresh snapshot against copying
// the new and changed files into a fresh directory, both flushed to the disk.
func compareApply(ctx context.Context, s settings, v *volume, n news, stream string) (Comparison, error) {
	list, err := n.writeList(v.directory + ".list")
	if err != nil {
		return Comparison{}, err
	}
	ours := side{
		command: []string{s.tbdiff, "apply", stream, v.target()},
		label:   "tbdiff apply STREAM SNAPSHOT; syncfs",
		memory:  true,
		prepare: v.freshSnapshot,
		finish:  v.flush,
	}
	plain := side{
		command: []string{"sh", "-c", `cd "$1" && xargs -0 cp -a --parents -t "$2" <"$3"`, "sh", n.tree, v.target(), list},
		label:   "cp -a of the new and changed files; syncfs",
		prepare: v.freshDirectory,
		finish:  v.flush,
	}
	return compare(ctx, "apply", applyBar, s.runs, ours, plain)
}

func ignoreMissing(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
