package update

import (
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/evidence"
	"github.com/trebuchet-update/tbupdate/core/generation"
)

// TestPruneFailed looks at what is remembered after many failures: of the latest only,
// never less than what is still installed, and the same after a second time.
func TestPruneFailed(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	s := &session{
		Machine: &Machine{}, journal: &generation.Journal{Format: generation.FormatVersion},
		store: generation.NewStore(directory), evidence: evidence.NewStore(directory+"/failed", 100),
	}
	for i := range 20 {
		g := generation.Generation{ID: generation.ID(fmt.Sprintf("failed-%02d", i)), State: generation.Failed}
		if i == 1 {
			g.Pristine = "257" // it could not be removed yet
		}
		s.journal.Put(g)
		if err := s.evidence.Keep(string(g.ID), "file", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	s.journal.Put(generation.Generation{ID: "good", State: generation.Good})
	s.journal.Put(generation.Generation{ID: "trial", State: generation.Trial})
	s.journal.Trial = &generation.TrialRun{ID: "trial", Tries: 2}
	if err := s.evidence.Keep("trial", "file", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.pruneFailed(); err != nil {
			t.Fatal(err)
		}
		saved, err := s.store.Load()
		if err != nil {
			t.Fatal(err)
		}
		var records []generation.ID
		for _, g := range saved.Generations {
			records = append(records, g.ID)
		}
		want := []generation.ID{"failed-01"}
		for i := 20 - keptRecords; i < 20; i++ {
			want = append(want, generation.ID(fmt.Sprintf("failed-%02d", i)))
		}
		if diff := cmp.Diff(append(want, "good", "trial"), records); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
		var kept []string
		entries, err := os.ReadDir(directory + "/failed")
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			kept = append(kept, entry.Name())
		}
		if diff := cmp.Diff([]string{"failed-17", "failed-18", "failed-19", "trial"}, kept); diff != "" {
			t.Errorf("evidence (-want +got):\n%s", diff)
		}
	}
}
