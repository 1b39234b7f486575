package history

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestPruneKeepsWhatWasUsedLast has more indexes than are kept, of which an old one was used
// again, and something else beside them.
func TestPruneKeepsWhatWasUsedLast(t *testing.T) {
	directory := t.TempDir()
	name := func(i int) string { return filepath.Join(directory, fmt.Sprintf("%02d.index", i)) }
	const more = 5
	start := time.Now().Add(-time.Hour)
	use := func(path string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{filepath.Join(directory, "notes"), name(0)}
	use(want[0], start.Add(-time.Hour))
	for i := range kept + more {
		use(name(i), start.Add(time.Duration(i)*time.Second))
		if i > more {
			want = append(want, name(i))
		}
	}
	use(name(0), time.Now())
	if err := Store(directory).prune(); err != nil {
		t.Fatal(err)
	}
	got, err := filepath.Glob(filepath.Join(directory, "*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("it keeps %q, want %q", got, want)
	}
}
