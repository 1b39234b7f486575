// Package demo_test holds the streams that are made of the demonstration's release
// trees against the trees themselves.
package demo_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The releases are real Debian systems, so they hold what test data tends to
// forget: set-user-id programs, device nodes, hard links, names that are not
// ASCII, thousands of files.
func TestStreamTurnsOneReleaseIntoTheNext(t *testing.T) {
	t.Parallel()
	trees, tbdiff := releaseTrees(t), buildTbdiff(t)
	cases := []struct{ name, from, to string }{
		{"security update", "1.0", "1.1"},
		{"new kernel line", "1.1", "2.0"},
		{"back to an older release", "2.0", "1.0"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			from, to := filepath.Join(trees, c.from), filepath.Join(trees, c.to)
			work := t.TempDir()
			stream, updated := filepath.Join(work, "stream.tbd"), filepath.Join(work, "tree")

			run(t, tbdiff, "create", "--level", "fast", "-o", stream, from, to)
			run(t, "cp", "-a", from, updated)
			run(t, tbdiff, "apply", stream, updated)
			run(t, tbdiff, "compare", "--exact", to, updated)
			if got, want := run(t, tbdiff, "digest", updated), run(t, tbdiff, "digest", to); got != want {
				t.Errorf("digest of the updated tree is %s, want %s", got, want)
			}

			again := filepath.Join(work, "again.tbd")
			run(t, tbdiff, "create", "--level", "fast", "-o", again, from, to)
			run(t, "cmp", stream, again)
		})
	}
}

// releaseTrees gives the directory that demo/trees prints.
func releaseTrees(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root: it builds and copies root trees")
	}
	return run(t, "./trees")
}

func buildTbdiff(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "tbdiff")
	run(t, "go", "build", "-o", program, "../cmd/tbdiff")
	return program
}

// run fails the test when the program fails, and gives its standard output
// without the last line feed.
func run(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	var stdout, stderr strings.Builder
	command := exec.CommandContext(t.Context(), program, arguments...)
	command.Env = append(os.Environ(), "LC_ALL=C")
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(command.Args, " "), err, stdout.String(), stderr.String())
	}
	return strings.TrimSuffix(stdout.String(), "\n")
}
