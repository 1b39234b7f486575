package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"sync"

	"github.com/trebuchet-update/tbupdate/lab/crash"
)

// cut cuts the power at every instant of what the updater does, or at some of them.
func cut(ctx context.Context, top string, arguments []string) error {
	var o crash.Options
	flags := flag.NewFlagSet("crash", flag.ContinueOnError)
	flags.IntVar(&o.Torn, "torn", 3, "torn states for each gap between two flushes")
	flags.IntVar(&o.Most, "most", 0, "look at so many states of each workload; 0 for all")
	flags.IntVar(&o.Rounds, "rounds", 200, "rounds of commands at once, with each boot loader")
	publish := flags.String("publish", "", "the directory whose reliability.md gets the results")
	flags.Uint64Var(&o.Seed, "seed", 1, "where the seeds of torn states begin")
	only := flags.String("only", "", "workloads and boot loaders, a regular expression for WORKLOAD/LOADER")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	directory, err := os.MkdirTemp("", "lab-crash-")
	if err != nil {
		return err
	}
	s, err := crash.NewWorkshop(ctx, top, directory)
	if err != nil {
		return err
	}
	results, err := tryAll(ctx, s, wanted, o, *publish)
	if closed := s.Close(); closed != nil {
		return errors.Join(err, closed) // and what is mounted there stays
	}
	if err := errors.Join(err, os.RemoveAll(directory)); err != nil {
		return err
	}
	fmt.Print(crash.Table(results))
	for _, r := range results {
		if len(r.Faults) > 0 {
			return errors.New("a state is not clean")
		}
	}
	return nil
}

// tryAll tries cases, two at a time, and publishes each when it is over.
func tryAll(ctx context.Context, s *crash.Workshop, wanted *regexp.Regexp, o crash.Options, publish string) ([]crash.Result, error) {
	var cases []crash.Case
	for _, c := range crash.Cases() {
		if wanted.MatchString(c.Name()) {
			cases = append(cases, c)
		}
	}
	results, faults := make([]crash.Result, len(cases)), make([]error, len(cases))
	next := make(chan int)
	var workers sync.WaitGroup
	var publishing sync.Mutex
	for range 2 {
		workers.Go(func() {
			for i := range next {
				seen := 0
				results[i], faults[i] = s.Try(ctx, cases[i], o, func(r crash.Result) {
					for ; seen < len(r.Faults); seen++ {
						fmt.Printf("%s: state %s, seeds from %d: %v\n", cases[i].Name(), r.Faults[seen].State, o.Seed, r.Faults[seen].Problem)
					}
				})
				if faults[i] != nil {
					faults[i] = fmt.Errorf("%s: %w", cases[i].Name(), faults[i])
					fmt.Println(faults[i])
					continue
				}
				fmt.Printf("%s: %d of %d states clean\n", cases[i].Name(), results[i].Clean(), results[i].States)
				if publish != "" {
					publishing.Lock()
					faults[i] = crash.Publish(publish, results[i:i+1])
					publishing.Unlock()
				}
			}
		})
	}
	for i := range cases {
		if ctx.Err() == nil {
			next <- i
		}
	}
	close(next)
	workers.Wait()
	return results, errors.Join(append(faults, context.Cause(ctx))...)
}
