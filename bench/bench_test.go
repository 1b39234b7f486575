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

// TestPublish has a pair measured twice, and another one.
func TestPublish(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	write(t, directory, map[string]string{"benchmarks.md": "before\n" + figuresBegin + "old" + figuresEnd + "after\n"})
	of := func(pair string, bytes int64) measuredPair {
		return measuredPair{Name: pair, Date: "2026-11-28", Made: []made{
			{Way: "a | b", Ours: true, Bytes: bytes, Create: Measurement{Seconds: []float64{3, 1, 2}, PeakBytes: 2e6}},
			{Way: "other", Refused: "it cannot"},
		}}
	}
	for _, fresh := range [][]measuredPair{{of("many", 1e6), of("next", 5e6)}, {of("many", 3e6)}} {
		if err := publish(directory, fresh); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(filepath.Join(directory, publishedPage))
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, want := range []string{`| **a \| b** | 5.0 MB | 2.00 s | 2.0 MB |  |  |  |`, `| **a \| b** | 3.0 MB |`, "| other | refuses: it cannot |"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "1.0 MB") || strings.Contains(text, "old") || !strings.HasPrefix(text, "before\n") || !strings.HasSuffix(text, "after\n") {
		t.Errorf("the page is:\n%s", text)
	}
	if strings.Index(text, "Debian 13") > strings.Index(text, "200,000") {
		t.Errorf("the pairs are out of order:\n%s", text)
	}
	if picture, err := os.ReadFile(filepath.Join(directory, publishedPicture)); err != nil || !strings.Contains(string(picture), "3.0 MB") {
		t.Errorf("the picture is %s, %v", picture, err)
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
