package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// Report is all that a run found out, as bench.json holds it.
type Report struct {
	Machine     Machine      `json:"machine"`
	Data        Data         `json:"data"`
	Runs        int          `json:"runs"` // measured ones, of each side
	Comparisons []Comparison `json:"comparisons"`
	Sizes       []Size       `json:"sizes"`
}

// Machine is what one has to know to judge the figures.
type Machine struct {
	Kernel     string `json:"kernel"`
	Processor  string `json:"processor"`
	Cores      int    `json:"cores"`
	LoadBefore string `json:"load_before"` // averages over 1, 5 and 15 minutes
	LoadAfter  string `json:"load_after"`
}

// Data is what was worked on.
type Data struct {
	Old         string `json:"old"`
	New         string `json:"new"`
	TreeFiles   int    `json:"tree_files"` // plain files of the new tree
	TreeBytes   int64  `json:"tree_bytes"`
	NewsFiles   int    `json:"news_files"` // of these, new or changed
	NewsBytes   int64  `json:"news_bytes"`
	StreamBytes int64  `json:"stream_bytes"`
}

// Print writes the report for people.
func (r Report) Print(w io.Writer) {
	fmt.Fprintf(w, "machine  %s, %d cores, Linux %s, load %s before and %s after\n",
		r.Machine.Processor, r.Machine.Cores, r.Machine.Kernel, r.Machine.LoadBefore, r.Machine.LoadAfter)
	fmt.Fprintf(w, "data     release %s to %s: %d files, %s; new or changed %d files, %s; stream %s\n",
		r.Data.Old, r.Data.New, r.Data.TreeFiles, megabytes(r.Data.TreeBytes), r.Data.NewsFiles, megabytes(r.Data.NewsBytes), megabytes(r.Data.StreamBytes))
	fmt.Fprintf(w, "runs     %d of each side in turn, page cache warm\n\n", r.Runs)

	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "\tmedian\tfastest\tslowest\tmemory\tratio\tbar")
	for _, c := range r.Comparisons {
		verdict := "met"
		if !c.Met() {
			verdict = "MISSED"
		}
		fmt.Fprintf(table, "%s\t%.2f\t%.1f %s\n", row(c.Ours), c.Ratio, c.Bar, verdict)
		fmt.Fprintf(table, "%s\t\t\n", row(c.Plain))
	}
	table.Flush()

	fmt.Fprintln(w)
	table = tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "\tsize\tone run\tmemory")
	for _, size := range r.Sizes {
		memory := ""
		if size.PeakBytes > 0 {
			memory = megabytes(size.PeakBytes)
		}
		fmt.Fprintf(table, "%s\t%s\t%.1f s\t%s\n", size.Command, megabytes(size.Bytes), size.Median(), memory)
	}
	table.Flush()
}

func row(m Measurement) string {
	fastest, slowest := m.Spread()
	memory := ""
	if m.PeakBytes > 0 {
		memory = megabytes(m.PeakBytes)
	}
	return fmt.Sprintf("%s\t%.3f s\t%.3f s\t%.3f s\t%s", m.Command, m.Median(), fastest, slowest, memory)
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// Save writes the report as JSON.
func (r Report) Save(path string) error { return save(path, r) }

func save(path string, what any) error {
	data, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("cannot write report: %w", err)
	}
	return nil
}

func describeMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), LoadBefore: loadAverage(), Processor: processor()}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	return m
}

// processor gives the model name of the first processor, as /proc/cpuinfo has it.
func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range bytes.Lines(info) {
		if key, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH + " processor"
}

// loadAverage gives the load over 1, 5 and 15 minutes, as /proc/loadavg has it.
func loadAverage() string {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	fields := strings.Fields(string(load))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
