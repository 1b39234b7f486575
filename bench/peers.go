package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// way is how an update is made. script is for bash; its arguments are: tbdiff, the old tree,
// the new one, the file to make, an empty directory.
type way struct {
	name   string
	script string
	ours   bool
	// setUp is true where most of the time is for making what the way starts from.
	setUp bool
}

// ways are ours and the peers'.
var ways = []way{
	{name: "tbdiff v1, fast", ours: true, script: `exec "$1" create --format v1 --level fast -o "$4" "$2" "$3"`},
	{name: "tbdiff v1", ours: true, script: `exec "$1" create --format v1 -o "$4" "$2" "$3"`},
	{name: "tbdiff v1, small", ours: true, script: `exec "$1" create --format v1 --level small -o "$4" "$2" "$3"`},
	{name: "tbdiff v0 | zstd -19", script: `"$1" create --format v0 -o - "$2" "$3" | zstd -q -19 -T0 -f -o "$4"`},
	{name: "ostree static delta", script: `
		ostree() { command ostree --repo="$repo" "$@" 2>&1; }
		repo=$5/repo
		ostree init --mode=bare
		for tree in "$2" "$3"; do # ostree stops at what is no file, and is spared it
			mkdir "$5/tree" && cp -al "$tree/." "$5/tree"
			find "$5/tree" \( -type b -o -type c -o -type p -o -type s \) -delete
			ostree commit --branch="${tree##*/}" --subject=x --tree="dir=$5/tree"
			rm -rf "$5/tree"
		done
		ostree static-delta generate --from="${2##*/}" --to="${3##*/}" --inline --min-fallback-size=0 --filename="$4"`},
	{name: "zstd -19 --patch-from of tars", script: `
		for tree in "$2" "$3"; do tar --sort=name --xattrs -C "$tree" -cf "$5/${tree##*/}.tar" .; done
		zstd -q -19 --long=31 --patch-from="$5/${2##*/}.tar" "$5/${3##*/}.tar" -f -o "$4"`},
	{name: "rsync batch | zstd -19", script: `
		rsync -aHAX --delete --numeric-ids --no-whole-file --only-write-batch="$5/batch" "$3/" "$2/"
		zstd -q -19 -T0 -f -o "$4" "$5/batch"`},
	{name: "btrfs send -p | zstd -19", setUp: true, script: `
		truncate -s 8G "$5/image" && mkfs.btrfs -q "$5/image" && mkdir "$5/top" && mount -o loop "$5/image" "$5/top"
		trap 'umount "$5/top"' EXIT
		cd "$5/top"
		btrfs -q subvolume create work
		rsync -aHAX "$2/" work/ && btrfs -q subvolume snapshot -r work old
		rsync -aHAX --delete --inplace --no-whole-file "$3/" work/ && btrfs -q subvolume snapshot -r work new
		btrfs -q send -p old new | zstd -q -19 -T0 -f -o "$4"
		cd /`},
	{name: "casync, new chunks", script: `
		for tree in "$2" "$3"; do
			before=$(du -sb "$5" | cut -f 1)
			casync make --store="$5/store.castr" "$5/${tree##*/}.caidx" "$tree" >&2
		done
		truncate -s "$(($(du -sb "$5" | cut -f 1) - before))" "$4"`},
}

// longest is how long a way may take.
const longest = 20 * time.Minute

// made is what came of a way.
type made struct {
	Pair string `json:"pair"`
	Size
	Refused string `json:"refused,omitempty"` // why there is nothing
	SetUp   bool   `json:"set_up,omitempty"`  // the time is not the way's own
}

// measurePairs makes the named updates in every way.
func measurePairs(ctx context.Context, s settings, scratch string, names []string) ([]made, error) {
	var all []made
	for _, name := range names {
		p, ok := pairNamed(name)
		if !ok {
			return nil, fmt.Errorf("there is no pair %q", name)
		}
		directory := filepath.Join(scratch, name)
		if err := os.Mkdir(directory, 0o755); err != nil {
			return nil, err
		}
		oldTree, newTree, err := p.make(ctx, directory)
		if err != nil {
			return nil, fmt.Errorf("cannot make the trees of %q: %w", name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", p.name, p.about)
		for _, w := range ways {
			m := w.measure(ctx, s, p.name, directory, oldTree, newTree)
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			fmt.Fprintf(os.Stderr, "  %s: %s\n", w.name, m)
			all = append(all, m)
		}
		if err := os.RemoveAll(directory); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func pairNamed(name string) (pair, bool) {
	for _, p := range pairs {
		if p.name == name {
			return p, true
		}
	}
	return pair{}, false
}

// measure makes the update, in one run with all in the page cache.
func (w way) measure(ctx context.Context, s settings, pair, directory, oldTree, newTree string) made {
	m := made{Pair: pair, SetUp: w.setUp, Size: Size{Measurement: Measurement{Command: w.name}}}
	m.Refused = reason(func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("it took more than %s", longest))
		defer cancel()
		work, err := os.MkdirTemp(directory, "work-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(work)
		file := filepath.Join(work, "update")
		empty := filepath.Join(work, "empty")
		tbdiff, err := filepath.Abs(s.tbdiff)
		if err != nil {
			return err
		}
		if err := os.Mkdir(empty, 0o755); err != nil {
			return err
		}
		one := side{label: w.name, command: []string{"bash", "-euo", "pipefail", "-c", w.script, "bash", tbdiff, oldTree, newTree, file, empty}}
		if w.ours { // memory is watched in a run of its own
			one.memory = true
			if err := one.runInto(ctx, &m.Measurement, true); err != nil {
				return err
			}
		}
		if err := one.runInto(ctx, &m.Measurement, false); err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		m.Bytes = info.Size()
		return nil
	}())
	return m
}

// reason gives the last line of an error.
func reason(err error) string {
	if err == nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return lines[len(lines)-1]
}

func (m made) String() string {
	if m.Refused != "" {
		return "nothing: " + m.Refused
	}
	text := megabytes(m.Bytes)
	if !m.SetUp {
		text += fmt.Sprintf(", %.1f s", m.Median())
	}
	if m.PeakBytes > 0 {
		text += ", memory " + megabytes(m.PeakBytes)
	}
	return text
}

// printPairs writes a table with a column for each pair.
func printPairs(w io.Writer, names []string, all []made) {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(table, "\t%s\n", strings.Join(names, "\t"))
	for _, way := range ways {
		fmt.Fprint(table, way.name)
		for _, m := range all {
			if m.Command == way.name {
				fmt.Fprintf(table, "\t%s", m)
			}
		}
		fmt.Fprintln(table)
	}
	table.Flush()
}
