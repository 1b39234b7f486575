package listing_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/lab/listing"
)

// TestDifferences changes one thing of a tree at a time.
func TestDifferences(t *testing.T) {
	for name, c := range map[string]struct {
		change func(top string) error
		want   []string
	}{
		"nothing":            {func(string) error { return nil }, nil},
		"content":            {func(top string) error { return os.WriteFile(top+"/usr/file", []byte("othe"), 0o600) }, []string{"usr/file"}},
		"mode":               {func(top string) error { return os.Chmod(top+"/usr/file", 0o755) }, []string{"usr/file"}},
		"owner":              {func(top string) error { return os.Lchown(top+"/usr/link", 1, 2) }, []string{"usr/link"}},
		"target":             {func(top string) error { return os.Rename(top+"/usr/other", top+"/usr/link") }, []string{"usr/link", "usr/other"}},
		"one less":           {func(top string) error { return os.Remove(top + "/usr/file") }, []string{"usr/file"}},
		"one more":           {func(top string) error { return os.Mkdir(top+"/usr/new", 0o755) }, []string{"usr/new"}},
		"what machines have": {func(top string) error { return os.WriteFile(top+"/var/new", nil, 0o600) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			for _, err := range []error{
				os.MkdirAll(top+"/usr", 0o755), os.Mkdir(top+"/var", 0o755), os.WriteFile(top+"/usr/file", []byte("file"), 0o600),
				os.Symlink("file", top+"/usr/link"), os.Symlink("elsewhere", top+"/usr/other"),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			before := of(t, top)
			if err := c.change(top); err != nil {
				t.Fatal(err)
			}
			after := of(t, top)
			var got []string
			for _, path := range []string{"usr/file", "usr/link", "usr/new", "usr/other", "var/new"} {
				if before[path] != after[path] {
					got = append(got, path)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("these lines changed: %q, want %q", got, c.want)
			}
			if found := listing.Differences(before, after); len(found) != len(c.want) {
				t.Error(cmp.Diff(c.want, found))
			}
		})
	}
}

func of(t *testing.T, top string) map[string]string {
	t.Helper()
	lines, err := listing.Of(filepath.Clean(top))
	if err != nil {
		t.Fatal(err)
	}
	return lines
}
