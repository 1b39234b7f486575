package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name    string
		seconds []float64
		want    float64
	}{
		{"one run", []float64{3}, 3},
		{"odd number, in any order", []float64{9, 1, 2}, 2},
		{"even number", []float64{4, 1, 2, 9}, 3},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := (Measurement{Seconds: c.seconds}).Median(); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestNewsAreNewAndChangedFiles(t *testing.T) {
	t.Parallel()
	oldTree, newTree := t.TempDir(), t.TempDir()
	big := strings.Repeat("x", 200<<10)
	write(t, oldTree, map[string]string{"same": big, "sub/changed": big + "a", "gone": "1", "longer": "1"})
	write(t, newTree, map[string]string{"same": big, "sub/changed": big + "b", "added": "22", "longer": "12"})
	if err := os.Symlink("same", filepath.Join(newTree, "link")); err != nil {
		t.Fatal(err)
	}

	got, err := findNews(oldTree, newTree)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(big))
	want := news{
		tree:      newTree,
		paths:     []string{"added", "longer", "sub/changed"},
		bytes:     2 + 2 + size + 1,
		treeFiles: 4,
		treeBytes: 2 + 2 + size + size + 1,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(news{})); diff != "" {
		t.Error(diff)
	}
}

// write makes files in directory, by relative path and content.
func write(t *testing.T, directory string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
