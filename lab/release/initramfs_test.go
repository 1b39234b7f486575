package release

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestArchiveIsRead has the program cpio read what is written.
func TestArchiveIsRead(t *testing.T) {
	archive := cpio{
		"dev":       {cpioDirectory | 0o755, nil},
		"init":      {0o755, []byte("one")},
		"sub":       {cpioDirectory | 0o755, nil},
		"sub/empty": {0o644, nil},
		"sub/four":  {0o600, []byte("four")},
	}
	var written bytes.Buffer
	if err := archive.write(&written); err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	read := exec.Command("cpio", "--extract", "--quiet", "--make-directories", "--no-absolute-filenames")
	read.Dir, read.Stdin = directory, bytes.NewReader(written.Bytes())
	if output, err := read.CombinedOutput(); err != nil {
		t.Fatalf("cpio does not read the archive: %v: %s", err, output)
	}
	listing, err := exec.Command("find", directory, "-mindepth", "1", "-printf", "%P %y %m %s\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"dev d 755": true, "init f 755 3": true, "sub d 755": true, "sub/empty f 644 0": true, "sub/four f 600 4": true}
	got := map[string]bool{}
	for _, line := range bytes.Split(bytes.TrimSpace(listing), []byte("\n")) {
		fields := bytes.Fields(line)
		if string(fields[1]) == "d" { // a directory's size is its filesystem's business
			fields = fields[:3]
		}
		got[string(bytes.Join(fields, []byte(" ")))] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNextRelease(t *testing.T) {
	b := &Builder{Kernels: []Kernel{{Release: "odd"}, {Release: "even"}}}
	board := Model{Name: "board", Files: map[string]string{"etc/fstab": "none"}}
	cases := []struct {
		last    string
		variant string
		want    Release
	}{
		{"1", "good", Release{Version: "2", Kernel: Kernel{Release: "even"}}},
		{"2-root-only", "good", Release{Version: "3", Kernel: Kernel{Release: "odd"}}},
		{"1", "kernel-only", Release{Version: "2-kernel-only", Kernel: Kernel{Release: "even"}}},
		{"1", "root-only", Release{Version: "2-root-only", Kernel: Kernel{Release: "odd"}}},
		{"2", "panic", Release{Version: "3-panic", Kernel: Kernel{Release: "odd"}, Defect: Panic}},
	}
	for _, c := range cases {
		c.want.Model, c.want.Systemd = board, true
		got, err := b.Next(t.Context(), Release{Version: c.last, Model: board, Systemd: true, Defect: Hang}, c.variant)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s, %s: %s", c.last, c.variant, diff)
		}
	}
	for version, variant := range map[string]string{"1": "bad luck", "one": "good"} {
		if _, err := b.Next(t.Context(), Release{Version: version}, variant); err == nil {
			t.Errorf("after version %q comes the variant %q", version, variant)
		}
	}
}
