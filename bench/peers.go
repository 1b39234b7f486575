package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// longest is how long one run of a way may take.
const longest = 15 * time.Minute

// pairRuns is how often each way is run; medians are what counts. What takes longer than slow to be
// made is made once, and carried out as often.
const (
	pairRuns = 3
	slow     = 30 * time.Second
)

// measuredPair is what came of a pair.
type measuredPair struct {
	Name    string  `json:"name"`
	Machine Machine `json:"machine"`
	Date    string  `json:"date"` // of its end
	Made    []made  `json:"made"`
}

// made is what came of a way.
type made struct {
	Way       string      `json:"way"`
	Ours      bool        `json:"ours,omitempty"`
	Yardstick bool        `json:"yardstick,omitempty"` // no update, but something to hold updates against
	Bytes     int64       `json:"bytes,omitempty"`     // of the update
	Create    Measurement `json:"create,omitzero"`
	Apply     Measurement `json:"apply,omitzero"`
	// Differences is the number of entries that are not what they should be once the update
	// was carried out.
	Differences int    `json:"differences"`
	Refused     string `json:"refused,omitempty"` // why there is nothing
}

// measurePairs makes the named updates in every way, and carries them out.
func measurePairs(ctx context.Context, s settings, scratch string, names []string) ([]measuredPair, error) {
	var all []measuredPair
	for _, name := range names {
		p, ok := pairNamed(name)
		if !ok {
			return nil, fmt.Errorf("there is no pair %q", name)
		}
		directory := filepath.Join(scratch, name)
		if err := os.Mkdir(directory, 0o755); err != nil {
			return nil, err
		}
		measured := measuredPair{Name: name, Machine: describeMachine()}
		var err error
		if measured.Made, err = p.measure(ctx, s, directory); err != nil {
			return nil, fmt.Errorf("cannot measure the pair %q: %w", name, err)
		}
		measured.Machine.LoadAfter = loadAverage()
		measured.Date = time.Now().UTC().Format(time.DateOnly)
		all = append(all, measured)
	}
	return all, nil
}

func pairNamed(name string) (pair, bool) {
	for _, p := range append(slices.Clone(pairs), trial) {
		if p.name == name {
			return p, true
		}
	}
	return pair{}, false
}

// measure makes the trees on a volume of their own, and lets go of both then.
func (p pair) measure(ctx context.Context, s settings, directory string) (all []made, err error) {
	oldTree, newTree, err := p.make(ctx, directory)
	if err != nil {
		return nil, fmt.Errorf("cannot make its trees: %w", err)
	}
	b, err := newBench(ctx, s, filepath.Join(directory, "volume"), oldTree, newTree, p.level())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.volume.Close(), os.RemoveAll(directory)) }()
	fmt.Fprintf(os.Stderr, "%s: %s\n", p.name, p.about)
	for _, w := range ways {
		if s.ways != nil && !s.ways.MatchString(w.name) {
			continue
		}
		m := b.try(ctx, w)
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "  %s: %s\n", w.name, m)
		all = append(all, m)
	}
	return all, nil
}

// bench is a volume with two snapshots, old and new, where ways are measured.
type bench struct {
	volume        *volume
	tbdiff        string
	oldTree, tree string // of the volume
	newTree       string
	work, update  string
	environment   []string
}

// newBench makes the volume. The new tree there is what rsync makes of the old one, so that the
// two have as much in common as an update on a machine leaves.
func newBench(ctx context.Context, s settings, directory, oldTree, newTree, level string) (*bench, error) {
	tbdiff, err := filepath.Abs(s.tbdiff)
	if err != nil {
		return nil, err
	}
	v, err := newVolume(ctx, directory, oldTree)
	if err != nil {
		return nil, err
	}
	b := &bench{
		volume: v, tbdiff: tbdiff, oldTree: filepath.Join(v.directory, "old"), newTree: filepath.Join(v.directory, "new"),
		tree: v.target(), work: filepath.Join(v.directory, "work"), update: v.directory + ".update",
	}
	if err := b.fill(ctx, s, newTree, level); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return b, nil
}

func (b *bench) fill(ctx context.Context, s settings, newTree, level string) error {
	v := b.volume
	for _, step := range [][]string{
		{"btrfs", "subvolume", "snapshot", "-r", v.origin(), b.oldTree},
		// By checksums, since the trees' builder gives all that is newer than the archive one time.
		{"rsync", "-aHAX", "--checksum", "--delete", "--numeric-ids", "--inplace", "--no-whole-file", newTree + "/", v.origin() + "/"},
		{"btrfs", "subvolume", "snapshot", "-r", v.origin(), b.newTree},
		{b.tbdiff, "compare", "--exact", newTree, b.newTree},
	} {
		if err := command(ctx, step[0], step[1:]...); err != nil {
			return err
		}
	}
	n, err := findNews(b.oldTree, b.newTree)
	if err != nil {
		return err
	}
	list, err := n.writeList(v.directory + ".list")
	if err != nil {
		return err
	}
	b.environment = append(os.Environ(), "LC_ALL=C",
		"TBDIFF="+b.tbdiff, "CLASSIC="+s.classic, "OLD="+b.oldTree, "NEW="+b.newTree, "TOP="+v.directory, "DEVICE="+v.loop.Path,
		"LEVEL="+level, "NEWS="+list, "WORK="+b.work, "UPDATE="+b.update, "TREE="+b.tree)
	return v.flush()
}

// try measures a way, or finds out why it does not go.
func (b *bench) try(ctx context.Context, w way) made {
	m := made{Way: w.name, Ours: w.ours, Yardstick: w.yardstick}
	err := b.measure(ctx, w, &m)
	if err := errors.Join(err, b.clear(ctx, append(b.made(), b.work)...)); err != nil {
		m.Refused = reason(err)
	}
	return m
}

// measure makes the update as often as it is not slow, and carries it out each time.
func (b *bench) measure(ctx context.Context, w way, m *made) error {
	for i := range pairRuns {
		if i == 0 || w.create != "" && m.Create.Median() < slow.Seconds() {
			if err := b.create(ctx, w, m); err != nil {
				return err
			}
		}
		if w.apply == "" {
			continue
		}
		if err := errors.Join(b.apply(ctx, w, m), b.clear(ctx, b.made()...)); err != nil {
			return err
		}
	}
	return nil
}

// made lists the subvolumes that carrying out an update may leave.
func (b *bench) made() []string {
	return []string{filepath.Join(b.tree, "old"), filepath.Join(b.tree, "new"), b.tree}
}

// create makes the update, in an empty directory.
func (b *bench) create(ctx context.Context, w way, m *made) error {
	if err := b.clear(ctx, b.work); err != nil {
		return err
	}
	if err := b.volume.btrfs(ctx, "subvolume", "create", b.work); err != nil {
		return err
	}
	if err := ignoreMissing(os.Remove(b.update)); err != nil {
		return err
	}
	if w.create == "" {
		return nil
	}
	if err := b.run(ctx, w.known, nil, nil); err != nil {
		return fmt.Errorf("cannot get ready to make it: %w", err)
	}
	if err := b.run(ctx, w.create, &m.Create, nil); err != nil {
		return fmt.Errorf("cannot make it: %w", err)
	}
	info, err := os.Stat(b.update)
	if err != nil {
		return err
	}
	m.Bytes = info.Size()
	return nil
}

// apply carries the update out, and looks what came of it.
func (b *bench) apply(ctx context.Context, w way, m *made) error {
	if err := b.run(ctx, w.ready, nil, nil); err != nil {
		return fmt.Errorf("cannot get ready for it: %w", err)
	}
	if err := b.volume.flush(); err != nil {
		return err
	}
	if err := b.run(ctx, w.apply, &m.Apply, b.volume.flush); err != nil {
		return fmt.Errorf("cannot carry it out: %w", err)
	}
	if w.yardstick {
		return nil
	}
	var err error
	m.Differences, err = b.differences(ctx, filepath.Join(b.tree, w.below))
	if err == nil && w.ours && m.Differences > 0 && !strings.Contains(w.name, "v0") {
		err = fmt.Errorf("%d entries are not what they should be", m.Differences)
	}
	return err
}

// run runs a script, and adds to m how long it took, with finish, and the memory of all its
// processes.
func (b *bench) run(ctx context.Context, script string, m *Measurement, finish func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("it took more than %s", longest))
	defer cancel()
	one := side{label: "script", command: []string{"bash", "-euo", "pipefail", "-c", script}, environment: b.environment, finish: finish}
	if m == nil {
		m = &Measurement{}
	}
	one.memory = true
	if err := one.runInto(ctx, m, false); err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return nil
}

// differences counts what tbdiff compare finds.
func (b *bench) differences(ctx context.Context, tree string) (int, error) {
	compare := exec.CommandContext(ctx, b.tbdiff, "compare", "--exact", tree, b.newTree)
	output, err := compare.Output()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || len(output) == 0) {
		return 0, fmt.Errorf("cannot compare: %w", err)
	}
	return strings.Count(string(output), "\n"), nil
}

// clear removes subvolumes and directories of the volume.
func (b *bench) clear(ctx context.Context, paths ...string) error {
	for _, path := range paths {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := b.volume.btrfs(ctx, "subvolume", "delete", path); err != nil { // no subvolume
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return b.volume.settle(ctx)
}

// reason gives the last line of an error.
func reason(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return lines[len(lines)-1]
}

func (m made) String() string {
	if m.Refused != "" {
		return "nothing: " + m.Refused
	}
	var parts []string
	if m.Bytes > 0 && !m.Yardstick {
		parts = append(parts, megabytes(m.Bytes))
	}
	for _, side := range []struct {
		word string
		Measurement
	}{{"made", m.Create}, {"carried out", m.Apply}} {
		if len(side.Seconds) > 0 {
			parts = append(parts, fmt.Sprintf("%s in %.2f s and %s", side.word, side.Median(), megabytes(side.PeakBytes)))
		}
	}
	if m.Differences > 0 {
		parts = append(parts, fmt.Sprintf("%d entries differ", m.Differences))
	}
	return strings.Join(parts, ", ")
}

// printPairs writes a table for each pair.
func printPairs(w io.Writer, all []measuredPair) {
	for _, measured := range all {
		table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		fmt.Fprintf(table, "\n%s\tsize\tcreate\tmemory\tapply\tmemory\tdiffer\n", measured.Name)
		for _, m := range measured.Made {
			fmt.Fprintln(table, strings.Join(append([]string{m.Way}, m.cells()...), "\t"))
		}
		table.Flush()
	}
}

// cells gives the figures as a table has them.
func (m made) cells() []string {
	if m.Refused != "" {
		return []string{"refuses: " + m.Refused, "", "", "", "", ""}
	}
	cells := []string{"", "", "", "", "", ""}
	if m.Bytes > 0 && !m.Yardstick {
		cells[0] = megabytes(m.Bytes)
	}
	for i, side := range []Measurement{m.Create, m.Apply} {
		if len(side.Seconds) > 0 {
			cells[1+2*i], cells[2+2*i] = fmt.Sprintf("%.2f s", side.Median()), megabytes(side.PeakBytes)
			if len(side.Seconds) == 1 {
				cells[1+2*i] += " (once)"
			}
		}
	}
	if len(m.Apply.Seconds) > 0 && !m.Yardstick {
		cells[5] = fmt.Sprint(m.Differences)
	}
	return cells
}
