package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/trebuchet-update/tbupdate/lab/machine"
	"github.com/trebuchet-update/tbupdate/lab/scenario"
)

// list shows the stories.
func list() error {
	cases, err := scenario.Cases(scenario.SetCrash)
	if err != nil {
		return err
	}
	platforms := map[string][]string{}
	for _, c := range cases {
		platforms[c.Scenario.Name] = append(platforms[c.Scenario.Name], c.Platform.Name)
	}
	all, err := scenario.All()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, s.Title, strings.Join(platforms[s.Name], " "))
	}
	return w.Flush()
}

// play plays a story once.
func play(ctx context.Context, w *machine.Workshop, story, platform string) error {
	cases, err := scenario.Cases(scenario.SetCrash)
	if err != nil {
		return err
	}
	for _, c := range cases {
		if c.Scenario.Name != story || c.Platform.Name != platform {
			continue
		}
		var result scenario.Result
		func() {
			defer func() {
				// What byHand stops with has been told already.
				if stopped := recover(); stopped != nil && stopped != errStopped {
					panic(stopped)
				}
			}()
			scenario.Play(ctx, w, c, byHand{}, &result)
		}()
		fmt.Print(scenario.Table([]scenario.Result{result}))
		if !result.Passed {
			return errors.New("the story does not end as it should")
		}
		return nil
	}
	return fmt.Errorf("there is no story %q for platform %q; see: go run ./lab list", story, platform)
}

var errStopped = errors.New("stopped")

// byHand is a story's way to talk to people who play it by hand.
type byHand struct{}

func (byHand) Skip(...any)                              { panic(errStopped) }
func (b byHand) Fatal(arguments ...any)                 { b.Log(arguments...); b.FailNow() }
func (byHand) Parallel()                                {}
func (byHand) Log(arguments ...any)                     { fmt.Println(arguments...) }
func (byHand) FailNow()                                 { panic(errStopped) }
func (b byHand) Run(_ string, story func(testscript.T)) { story(b) }
func (byHand) Verbose() bool                            { return true }
