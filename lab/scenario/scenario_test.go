package scenario_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/trebuchet-update/tbupdate/lab/machine"
	"github.com/trebuchet-update/tbupdate/lab/scenario"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

var (
	set     = flag.String("lab", defaultSet, "which stories to run: ci, core or full")
	only    = flag.String("lab.platform", "", "run on this platform only")
	results = flag.String("lab.json", "", "write the results to this file")
)

func TestMain(m *testing.M) { loopback.Main(m) }

// TestScenarios plays the stories in machines that really boot.
func TestScenarios(t *testing.T) {
	cases, err := scenario.Cases(scenario.Set(*set))
	if err != nil {
		t.Fatal(err)
	}
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	workshop := machine.NewWorkshop(top)
	var mu sync.Mutex
	var all []scenario.Result
	// As many machines at a time as go test's flag -parallel says: each keeps one
	// processor busy.
	t.Run("machines", func(t *testing.T) {
		for _, c := range cases {
			if *only != "" && c.Platform.Name != *only {
				continue
			}
			t.Run(c.Name(), func(t *testing.T) {
				t.Parallel()
				var result scenario.Result
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					all = append(all, result)
				}()
				scenario.Play(t.Context(), workshop, c, inPlace{t}, &result)
			})
		}
	})
	if len(all) == 0 && !filtered() {
		t.Fatal("no story was played")
	}
	t.Logf("set %s:\n%s", *set, scenario.Table(all))
	if *results == "" {
		return
	}
	text, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*results, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// filtered says whether go test was asked for some tests only.
func filtered() bool { return strings.Contains(flag.Lookup("test.run").Value.String(), "/") }

// inPlace runs a story in the goroutine of the test that it is given.
type inPlace struct{ *testing.T }

func (p inPlace) Run(_ string, story func(testscript.T)) { story(p) }
func (inPlace) Parallel()                                {} // it is already
func (inPlace) Verbose() bool                            { return testing.Verbose() }

func TestEveryStoryIsInASet(t *testing.T) {
	all, err := scenario.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Title == "" {
			t.Errorf("%s has no title", s.Name)
		}
	}
}
