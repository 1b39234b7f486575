package image

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPlatforms(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range All() {
		if seen[p.Name] {
			t.Errorf("there are two platforms %s", p.Name)
		}
		seen[p.Name] = true
		if found, err := Find(p.Name); err != nil || found.Name != p.Name {
			t.Errorf("%s is not found: %v", p.Name, err)
		}
	}
	if _, err := Find("toaster"); err == nil || !strings.Contains(err.Error(), "grub") {
		t.Errorf("what there is instead of a platform that is unknown is not told: %v", err)
	}
}

// TestVariablesBelongToOneMachine writes to a machine's variables, as its firmware would.
func TestVariablesBelongToOneMachine(t *testing.T) {
	original := filepath.Join(t.TempDir(), "original")
	if err := os.WriteFile(original, []byte("empty"), 0o444); err != nil {
		t.Fatal(err)
	}
	p := Platform{Arguments: []string{"-machine", "pc"}, Variables: original}
	directory := t.TempDir()
	arguments, err := p.Board(directory)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(directory, "variables")
	if !slices.ContainsFunc(arguments, func(a string) bool { return strings.HasSuffix(a, "file="+own) }) {
		t.Errorf("the machine does not get its variables: %q", arguments)
	}
	if err := os.WriteFile(own, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(original); err != nil || string(content) != "empty" {
		t.Errorf("all machines' variables are %q now, %v", content, err)
	}
	if len(p.Arguments) != 2 {
		t.Errorf("the platform's arguments have become %q", p.Arguments)
	}
}
