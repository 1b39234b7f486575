package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/trebuchet-update/tbupdate/core/tree/treetest"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// TestCreateFromHistory makes streams between snapshots by what the filesystem says, and the
// same by reading both.
func TestCreateFromHistory(t *testing.T) {
	plugins := t.TempDir()
	mustRun(t, "go", "build", "-o", filepath.Join(plugins, "tbupdate-fs-btrfs"), "../../plugins/btrfs")
	device := loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs})
	top := device.Mount(t)
	work := filepath.Join(top, "work")
	mustRun(t, "btrfs", "-q", "subvolume", "create", work)
	before, after := treetest.Random(7)
	treetest.Build(t, work, before)
	write(t, filepath.Join(work, "unchanged"), strings.Repeat("unchanged", 10_000))
	snapshot := func(name string) {
		t.Helper()
		mustRun(t, "btrfs", "-q", "subvolume", "snapshot", "-r", work, filepath.Join(top, name))
	}
	snapshot("v1")
	mustRun(t, "sh", "-c", `cd "$1" && find . -mindepth 1 -maxdepth 1 ! -name unchanged -exec rm -r {} +`, "sh", work)
	treetest.Build(t, work, after)
	snapshot("v2")
	write(t, filepath.Join(work, "new"), "new")
	mustRun(t, "ln", filepath.Join(work, "new"), filepath.Join(work, "a-name-before"))
	snapshot("v3")
	mustRun(t, "btrfs", "-q", "subvolume", "create", filepath.Join(top, "stranger"))
	write(t, filepath.Join(top, "stranger/unchanged"), strings.Repeat("unchanged", 10_000))
	mustRun(t, "btrfs", "property", "set", filepath.Join(top, "stranger"), "ro", "true")

	out := t.TempDir()
	tbdiff := func(want int, arguments ...string) string {
		t.Helper()
		var messages bytes.Buffer
		if got := execute(t.Context(), streams{in: os.Stdin, out: os.Stdout, err: &messages}, arguments); got != want {
			t.Fatalf("tbdiff %q ended with %d, want %d: %s", arguments, got, want, messages.String())
		}
		return messages.String()
	}
	create := func(name string, want int, arguments ...string) string {
		t.Helper()
		return tbdiff(want, append([]string{"create", "--format", "v1", "--level", "fast", "-o", filepath.Join(out, name)}, arguments...)...)
	}
	volume := []string{"--fs", "btrfs", "--fs-config", "device=" + device.Path, "--plugins", plugins, "--indexes", filepath.Join(out, "indexes")}
	asking := func(from, to string) []string { return append(slices.Clone(volume), from, to) }
	same := func(a, b string) {
		t.Helper()
		if x, y := read(t, filepath.Join(out, a)), read(t, filepath.Join(out, b)); !bytes.Equal(x, y) {
			t.Errorf("%s has %d bytes, %s has %d, and they differ", a, len(x), b, len(y))
		}
	}
	create("read-12", 0, top+"/v1", top+"/v2")
	create("read-23", 0, top+"/v2", top+"/v3")
	create("read-3s", 0, top+"/v3", top+"/stranger")
	if got := create("asked-12", 0, asking("v1", "v2")...); !strings.HasPrefix(got, "Nothing is known of v1 yet: all of it is read.\n") {
		t.Errorf("the first time it says %q", got)
	}
	same("read-12", "asked-12")

	// What cannot be kept for the next time is no reason to fail now.
	nowhere := append(slices.Clone(volume), "--indexes", filepath.Join(out, "read-12", "indexes"), "v1", "v2")
	if got := create("not-kept", 0, nowhere...); !strings.Contains(got, "cannot keep what is known of v2: ") {
		t.Errorf("where nothing can be kept it says %q", got)
	}
	same("read-12", "not-kept")

	// A bundle of two deltas, and of all there is.
	bundle := func(name, trees string, arguments ...string) string {
		t.Helper()
		full := []string{"bundle", "create", "--level", "fast", "--product", "p", "--version", "3", "-o", filepath.Join(out, name)}
		full = append(full, "--from", trees+"v1", "--from", trees+"v2", "--to", trees+"v3")
		return tbdiff(0, append(full, arguments...)...)
	}
	bundle("read.tbu", top+"/")
	apart := append(slices.Clone(volume), "--indexes", filepath.Join(out, "others"))
	if got := bundle("asked.tbu", "", apart...); !strings.HasPrefix(got, "Nothing is known of v1 yet: all of it is read.\n") || strings.Count(got, "is read") != 1 {
		t.Errorf("it says %q", got)
	}
	same("read.tbu", "asked.tbu")

	// What did not change cannot be read any more: nobody does.
	device.Unmount(t, top)
	device.LoseBlock(t, "v1/unchanged")
	top = device.Mount(t)
	if _, err := os.ReadFile(top + "/v3/unchanged"); err == nil {
		t.Fatal("what is lost can be read")
	}
	if got := create("asked-23", 0, asking("v2", "v3")...); strings.Contains(got, "is read") {
		t.Errorf("it says %q", got)
	}
	same("read-23", "asked-23")
	create("asked-again", 0, asking("v2", "v3")...)
	same("read-23", "asked-again")

	// Another history, a writable subvolume, none, and a damaged index.
	if got := create("asked-3s", 0, asking("v3", "stranger")...); !strings.Contains(got, "have no common history: all of stranger is read.\n") {
		t.Errorf("it says %q", got)
	}
	same("read-3s", "asked-3s")
	for name, want := range map[string]string{"work": "work is writable: name a read-only snapshot of it", "none": "there is no such subvolume"} {
		if got := create("refused", 1, asking("v3", name)...); !strings.Contains(got, want) || !strings.HasSuffix(got, "Nothing was written.\n") {
			t.Errorf("of %s it says %q", name, got)
		}
	}
	indexes, err := filepath.Glob(out + "/indexes/*.index")
	if err != nil || len(indexes) != 4 {
		t.Fatalf("there are the indexes %q, %v", indexes, err)
	}
	for _, index := range indexes {
		write(t, index, "damaged")
	}
	if got := create("refused", 1, asking("v2", "v3")...); !strings.Contains(got, "unchanged") || !strings.Contains(got, "input/output error") {
		t.Errorf("with nothing known it says %q", got)
	}
}

func mustRun(t *testing.T, program string, arguments ...string) {
	t.Helper()
	if output, err := exec.CommandContext(t.Context(), program, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", program, arguments, err, output)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
