// Command bench measures tbdiff against plain tools that do the same amount of
// work, in the same run and on the same data: the release trees of the
// demonstration.
//
//	create   tbdiff create OLD NEW           against reading both trees once with cat
//	apply    tbdiff apply onto a snapshot    against cp -a of the new and changed files
//
// Both measure version 0. How small updates are in version 1, and in plain ways, is shown
// beside it.
//
// With -pairs it makes updates of several kinds in our ways and in those of other tools, and
// carries them out: how large they are, how long all takes, and whether the result is exact.
//
// Both sides of apply end with syncfs. All files are in the page cache when a
// measurement begins. Each side runs once unmeasured, then -runs times, in turn,
// and the medians are compared.
//
// It needs root, prints a table, writes build/bench.json and exits with 1 when a
// ratio is above its bar.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// The bars: how many times as long as the plain tool ours may take.
const (
	createBar = 2.5
	applyBar  = 2.0
)

// errBarMissed ends a run whose figures are printed and whose ratio is too high.
var errBarMissed = errors.New("a ratio is above its bar")

// settings are the command line.
type settings struct {
	trees    string // directory of the release trees; "" builds or finds them
	old, new string // releases, names in trees
	tbdiff   string
	work     string // scratch directory and place of bench.json
	runs     int
	pairs    string
	ways     *regexp.Regexp // nil for all
	classic  string
	publish  string
}

func main() {
	var s settings
	flag.StringVar(&s.trees, "trees", "", "directory of the release trees (default: what demo/trees says)")
	flag.StringVar(&s.old, "old", "1.0", "release to update from")
	flag.StringVar(&s.new, "new", "1.1", "release to update to")
	flag.StringVar(&s.tbdiff, "tbdiff", "bin/tbdiff", "program to measure")
	flag.StringVar(&s.work, "work", "build", "directory for the disk image and bench.json")
	flag.IntVar(&s.runs, "runs", 7, "measured runs of each side")
	flag.StringVar(&s.pairs, "pairs", "", "instead, make these updates in every way: security, features, next, big, many, or all; trial shows whether all ways go")
	ways := flag.String("ways", "", "for these, only the ways that this regular expression matches; cannot be published")
	flag.StringVar(&s.classic, "classic", "", "for these, directory with the classic programs, tbdiff-create and tbdiff-deploy")
	flag.StringVar(&s.publish, "publish", "", "for these, directory whose benchmarks.* get the figures")
	flag.Parse()
	if err := s.choose(*ways); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// choose sets the ways that are measured.
func (s *settings) choose(ways string) (err error) {
	if ways == "" {
		return nil
	}
	if s.publish != "" {
		return errors.New("-ways leaves ways out, and -publish wants them all")
	}
	s.ways, err = regexp.Compile(ways)
	return err
}

func run(ctx context.Context, s settings) error {
	if os.Geteuid() != 0 {
		return errors.New("cannot measure: it mounts a filesystem and needs root")
	}
	if s.trees == "" && s.pairs == "" {
		trees, err := findTrees(ctx, "demo")
		if err != nil {
			return err
		}
		s.trees = trees
	}
	scratch, err := os.MkdirTemp(s.work, "bench-")
	if err != nil {
		return fmt.Errorf("cannot create scratch directory: %w", err)
	}
	defer os.RemoveAll(scratch)

	if s.pairs != "" {
		return runPairs(ctx, s, scratch)
	}
	report := Report{Machine: describeMachine(), Runs: s.runs}
	if err := measureAll(ctx, s, scratch, &report); err != nil {
		return err
	}
	report.Machine.LoadAfter = loadAverage()
	report.Print(os.Stdout)
	if err := report.Save(filepath.Join(s.work, "bench.json")); err != nil {
		return err
	}
	for _, c := range report.Comparisons {
		if !c.Met() {
			return fmt.Errorf("%s: %w", c.Name, errBarMissed)
		}
	}
	return nil
}

// measureAll fills in the report's data and comparisons. What it makes is below
// scratch.
func measureAll(ctx context.Context, s settings, scratch string, report *Report) error {
	oldTree, newTree := filepath.Join(s.trees, s.old), filepath.Join(s.trees, s.new)
	news, err := findNews(oldTree, newTree)
	if err != nil {
		return err
	}
	stream := filepath.Join(scratch, "stream.tbd")

	create, err := compareCreate(ctx, s, oldTree, newTree, stream)
	if err != nil {
		return err
	}
	volume, err := newVolume(ctx, filepath.Join(scratch, "volume"), oldTree)
	if err != nil {
		return err
	}
	apply, err := compareApply(ctx, s, volume, news, stream)
	if err = errors.Join(err, volume.Close()); err != nil {
		return err
	}

	info, err := os.Stat(stream)
	if err != nil {
		return fmt.Errorf("cannot read the size of the stream: %w", err)
	}
	report.Data = Data{
		Old: s.old, New: s.new, NewsFiles: len(news.paths), NewsBytes: news.bytes,
		StreamBytes: info.Size(), TreeBytes: news.treeBytes, TreeFiles: news.treeFiles,
	}
	report.Comparisons = []Comparison{create, apply}
	report.Sizes, err = measureSizes(ctx, s, scratch, oldTree, newTree)
	return err
}

// runPairs makes updates in every way, and keeps what came of it in pairs.json.
func runPairs(ctx context.Context, s settings, scratch string) error {
	names := strings.Split(s.pairs, ",")
	if s.pairs == "all" {
		names = nil
		for _, p := range pairs {
			names = append(names, p.name)
		}
	}
	all, err := measurePairs(ctx, s, scratch, names)
	if err != nil {
		return err
	}
	if err := save(filepath.Join(s.work, "pairs.json"), all); err != nil {
		return err
	}
	printPairs(os.Stdout, all)
	if s.publish == "" {
		return nil
	}
	return publish(s.publish, all)
}

// findTrees gives the directory that demo/trees prints.
func findTrees(ctx context.Context, set string) (string, error) {
	command := exec.CommandContext(ctx, "demo/trees", set)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("cannot get the release trees: demo/trees: %w", err)
	}
	return strings.TrimSpace(string(output)), nil
}
