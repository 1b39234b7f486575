package crash

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPublished compares what is published with the cases that there are: none may be left out or not clean.
func TestPublished(t *testing.T) {
	const docs = "../../docs"
	results, err := published(docs)
	if err != nil {
		t.Fatal(err)
	}
	all := Cases()
	for _, c := range all {
		if !slices.ContainsFunc(results, func(r Result) bool { return r.of(c) }) {
			t.Errorf("%s is not among the published results", c.Name())
		}
	}
	for _, r := range results {
		if !slices.ContainsFunc(all, r.of) {
			t.Errorf("there is no case %s/%s any more", r.What, r.Loader)
		}
		if r.States == 0 || r.Clean() != r.States {
			t.Errorf("%s/%s: %d of %d states clean", r.What, r.Loader, r.Clean(), r.States)
		}
	}
	page, err := os.ReadFile(filepath.Join(docs, publishedPage))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), tableBegin+"\n"+Table(results)+"\n"+tableEnd) {
		t.Errorf("the table in %s is not that of %s", publishedPage, publishedResults)
	}
}
