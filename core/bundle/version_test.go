package bundle_test

import (
	"testing"

	"github.com/trebuchet-update/tbupdate/core/bundle"
)

// TestCompareVersions has the examples of the specification, and more.
func TestCompareVersions(t *testing.T) {
	ascending := [][]string{
		{"~", "", "-", "^", ".", "a", "1"},
		{"11~rc1", "11", "11-1", "11-2", "11^1", "11.1", "11.2", "11a", "11b", "12"},
		{"122.1", "123~rc1-1", "123", "123-a", "123-a.1", "123-1", "123-1.1", "123^post1", "123.a-1", "123.1-1", "123a-1", "124-1"},
		{"1.2", "1.10", "1.10.1", "2"},
		{"2026.11.25", "2026.11.26"},
	}
	for _, versions := range ascending {
		for i, a := range versions {
			for j, b := range versions {
				want := 0
				if i < j {
					want = -1
				} else if i > j {
					want = 1
				}
				if got := bundle.CompareVersions(a, b); got != want {
					t.Errorf("%q and %q: %d instead of %d", a, b, got, want)
				}
			}
		}
	}
	for _, same := range [][2]string{{"1.02", "1.2"}, {"1_2", "1+2"}, {"0", "00"}} {
		if got := bundle.CompareVersions(same[0], same[1]); got != 0 {
			t.Errorf("%q and %q: %d instead of 0", same[0], same[1], got)
		}
	}
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("1.2~rc1", "1.2")
	f.Fuzz(func(t *testing.T, a, b string) {
		if bundle.CompareVersions(a, b) != -bundle.CompareVersions(b, a) {
			t.Error("it depends on the order")
		}
		if bundle.CompareVersions(a, a) != 0 {
			t.Error("it differs from itself")
		}
	})
}
