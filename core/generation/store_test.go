package generation

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestStore(t *testing.T) {
	s := NewStore(t.TempDir())
	empty, err := s.Load()
	if err != nil || empty.Format != FormatVersion || len(empty.Generations) != 0 {
		t.Fatalf("a new machine has the journal %+v, %v", empty, err)
	}
	if err := s.Save(sample()); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got, cmpopts.IgnoreUnexported(Journal{})); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
}

// A crash while the journal is written leaves the file beside it; the old one is
// what counts.
func TestHalfWrittenJournalIsNotRead(t *testing.T) {
	directory := t.TempDir()
	s := NewStore(directory)
	if err := s.Save(sample()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, journalFile+".next"), []byte(`{"form`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); err != nil {
		t.Error(err)
	}
	if err := s.Save(sample()); err != nil {
		t.Error(err)
	}
}

func TestLock(t *testing.T) {
	s := NewStore(t.TempDir())
	first, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("a second one got it: %v", err)
	}
	if err := first.Unlock(); err != nil {
		t.Fatal(err)
	}
	second, err := s.Lock()
	if err != nil {
		t.Fatalf("it was not given back: %v", err)
	}
	if err := second.Unlock(); err != nil {
		t.Error(err)
	}
}

func TestHistory(t *testing.T) {
	directory := t.TempDir()
	s := NewStore(directory)
	if events, err := s.History(t.Context()); err != nil || len(events) != 0 {
		t.Fatalf("a new machine has the history %v, %v", events, err)
	}
	first := Event{Time: noon, Kind: Apply, Generation: "a", Version: "1.0", Result: ResultDone}
	second := Event{Time: noon, Kind: FallBack, Generation: "a", Version: "1.0", Result: ResultDone, Reason: "it did not boot"}
	if err := s.AppendEvent(first); err != nil {
		t.Fatal(err)
	}
	// A loss of power cuts a line short.
	f, err := os.OpenFile(filepath.Join(directory, historyFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"time": "2026`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.AppendEvent(second); err != nil {
		t.Fatal(err)
	}
	got, err := s.History(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Event{first, second}, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}
