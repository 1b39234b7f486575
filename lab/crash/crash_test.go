package crash

import (
	"os"
	"regexp"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) { loopback.Main(m) }

// states is how many states of a case the test looks at; "make crash-full" looks at all of them, and at all cases.
const states = 2

// short are the cases of the test: all with one boot loader, and the main ones with the others.
var short = regexp.MustCompile(`/grub$|^(apply|confirm)/`)

// newTestWorkshop makes a workshop that lasts until the test and all of its parts have ended.
func newTestWorkshop(t *testing.T) *Workshop {
	t.Helper()
	directory, err := os.MkdirTemp("", "lab-crash-")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewWorkshop(t.Context(), "../..", directory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(directory); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestCrash cuts the power at a few instants of workloads.
func TestCrash(t *testing.T) {
	s := newTestWorkshop(t)
	for _, c := range Cases() {
		if !short.MatchString(c.Name()) {
			continue
		}
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			r, err := s.Try(t.Context(), c, Options{Torn: 1, Most: states, Rounds: states, Seed: 1}, func(Result) {})
			if err != nil {
				t.Fatal(err)
			}
			if r.States == 0 {
				t.Error("there are no states")
			}
			for _, f := range r.Faults {
				t.Errorf("state %s: %v", f.State, f.Problem)
			}
		})
	}
}
