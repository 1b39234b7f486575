package rootfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// FuzzDeploy: whatever the bytes are, deploying them into a tree full of ways out
// changes nothing beside the tree.
func FuzzDeploy(f *testing.F) {
	for _, dir := range vectorCases(f) {
		b, err := os.ReadFile(filepath.Join(dir, "stream.tbd"))
		must(f, err)
		// Long seeds keep the fuzzer busy with making them shorter.
		if len(b) < 4096 {
			f.Add(b)
		}
	}
	for _, steps := range fuzzSeeds() {
		f.Add(stream(f, steps...))
	}
	base := inMemory(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		j := fuzzJail(t, base)
		before, handles := describe(t, j.outside), openHandles(t)
		_, err := deploy(j.root, b)
		var located *tbdiff.StreamError
		if err != nil && !errors.As(err, &located) {
			t.Errorf("error %v does not say where it arose", err)
		}
		if diff := cmp.Diff(before, describe(t, j.outside)); diff != "" {
			t.Fatalf("something outside was touched (-before +after):\n%s", diff)
		}
		names, err := filepath.Glob(filepath.Dir(j.root) + "/*")
		must(t, err)
		if len(names) != 2 {
			t.Fatalf("beside the tree there are %v", names)
		}
		if now := openHandles(t); now != handles {
			t.Errorf("%d handles were left open", now-handles)
		}
	})
}

// fuzzJail is a small jail with short names, which mutations find easily.
func fuzzJail(t testing.TB, base string) jail {
	t.Helper()
	dir, err := os.MkdirTemp(base, "jail")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	j := jail{root: dir + "/tree", outside: dir + "/outside"}
	for _, d := range []string{j.root, j.outside, j.root + "/d", j.outside + "/d"} {
		must(t, os.Mkdir(d, 0o755))
	}
	for _, p := range []string{j.root + "/f", j.root + "/d/f", j.outside + "/f", j.outside + "/d/f"} {
		write(t, p, "0123456789")
	}
	must(t, os.Symlink("../outside", j.root+"/l"))
	must(t, os.Symlink(j.outside, j.root+"/a"))
	must(t, os.Symlink("../../outside/f", j.root+"/d/l"))
	must(t, os.Link(j.root+"/f", j.root+"/h"))
	must(t, unix.Mkfifo(j.root+"/p", 0o600))
	return j
}

// fuzzSeeds are streams that fit the jail, each with commands that are one changed
// byte away from a way out.
func fuzzSeeds() [][]any {
	return [][]any{
		{tbdiff.DirEnter{Name: "d"}, tbdiff.FileDelta{Name: "f", Mode: plain, Start: 2, End: 4}, content("abc"), tbdiff.EntityDelete{Name: "l"}, tbdiff.DirLeave{Mtime: 1}},
		{tbdiff.FileMetadata{Name: "h", Mask: 15, Mode: plain, UID: 1}, tbdiff.DirDelta{Name: "d", Mask: 15, Mode: directory, GID: 1}},
		{tbdiff.XattrsUpdate{Name: "f", Attributes: []tbdiff.Xattr{{Name: "user.a", Value: []byte("b")}}}, tbdiff.XattrsUpdate{Name: "h"}},
		{tbdiff.EntityDelete{Name: "d"}, tbdiff.SymlinkCreate{Name: "d", Target: "../outside"}, tbdiff.DirCreate{Name: "e", Mode: directory}, tbdiff.DirEnter{Name: "e"}, tbdiff.FileCreate{Name: "f", Mode: plain}, content("x"), tbdiff.DirLeave{}},
		{tbdiff.EntityDelete{Name: "l"}, tbdiff.EntityDelete{Name: "a"}, tbdiff.SpecialCreate{Name: "a", Mode: unix.S_IFIFO | 0o600}, tbdiff.EntityDelete{Name: "p"}},
	}
}

// The seeds that fit the jail do deploy: otherwise they would seed nothing.
func TestFuzzSeedsDeploy(t *testing.T) {
	base := inMemory(t)
	for _, steps := range fuzzSeeds() {
		if _, err := deploy(fuzzJail(t, base).root, stream(t, steps...)); err != nil {
			t.Error(err)
		}
	}
}

// A stream that is cut anywhere is refused, although all before the cut was done.
func TestDeployCut(t *testing.T) {
	base := inMemory(t)
	for _, steps := range fuzzSeeds() {
		b := stream(t, steps...)
		for n := range b {
			root := fuzzJail(t, base).root
			if _, err := deploy(root, b[:n]); !errors.Is(err, tbdiff.ErrTruncated) {
				t.Errorf("cut at byte %d: error is %v, want ErrTruncated", n, err)
			}
			expectNoTemporaries(t, root)
		}
	}
}
