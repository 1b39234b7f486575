package rootfs_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func vectorCases(t testing.TB) []string {
	t.Helper()
	cases, err := filepath.Glob("testdata/v0/*")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no vectors found: %v", err)
	}
	return cases
}

// What the C tool wrote gives exactly the tree that it was made from.
func TestDeployVectors(t *testing.T) {
	for _, dir := range vectorCases(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			root := unpack(t, filepath.Join(dir, "old.tar"), t.TempDir())
			b, err := os.ReadFile(filepath.Join(dir, "stream.tbd"))
			if err != nil {
				t.Fatal(err)
			}
			stats, err := deploy(root, b)
			if err != nil {
				t.Fatal(err)
			}
			if stats.StreamBytes != int64(len(b)) {
				t.Errorf("%d bytes of the stream used, want %d", stats.StreamBytes, len(b))
			}
			if diff := cmp.Diff(expected(t, filepath.Join(dir, "expected.json")), describe(t, root)); diff != "" {
				t.Errorf("tree differs (-want +got):\n%s", diff)
			}
		})
	}
}
