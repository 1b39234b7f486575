package rootfs_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestDeployReportsImmutable(t *testing.T) {
	root := t.TempDir()
	write(t, root+"/fixed", "x")
	must(t, os.Mkdir(root+"/closed", 0o755))
	write(t, root+"/closed/in", "x")
	for _, p := range []string{root + "/fixed", root + "/closed"} {
		run(t, "chattr", "+i", p)
		t.Cleanup(func() { run(t, "chattr", "-i", p) })
	}
	tests := map[string][]any{
		"delete":           {tbdiff.EntityDelete{Name: "fixed"}},
		"delta":            {tbdiff.FileDelta{Name: "fixed", Mode: plain}},
		"metadata":         {tbdiff.FileMetadata{Name: "fixed", Mode: plain}},
		"attributes":       {tbdiff.XattrsUpdate{Name: "fixed", Attributes: []tbdiff.Xattr{{Name: "user.a"}}}},
		"create in":        {tbdiff.DirEnter{Name: "closed"}, tbdiff.FileCreate{Name: "n", Mode: plain}, tbdiff.DirLeave{}},
		"delete in":        {tbdiff.DirEnter{Name: "closed"}, tbdiff.EntityDelete{Name: "in"}, tbdiff.DirLeave{}},
		"delete directory": {tbdiff.EntityDelete{Name: "closed"}},
		"leave":            {tbdiff.DirEnter{Name: "closed"}, tbdiff.DirLeave{}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := deploy(root, stream(t, steps...))
			if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "immutable") {
				t.Errorf("error is %v, want EPERM with the word immutable", err)
			}
		})
	}
	expectNoTemporaries(t, root)
}

// System errors stay visible to errors.Is, and a file that had no room keeps its old
// content.
func TestDeploySystemErrors(t *testing.T) {
	device := loopback.New(t, loopback.Options{Filesystem: loopback.Ext4, Size: 16 << 20})
	dir := device.Mount(t)
	write(t, dir+"/f", "old")
	big := content(strings.Repeat("0123456789abcdef", 2<<20))
	for name, steps := range map[string][]any{
		"create": {tbdiff.FileCreate{Name: "n", Mode: plain}, big},
		"delta":  {tbdiff.FileDelta{Name: "f", Mode: plain, Start: 3, End: 3}, big},
	} {
		if _, err := deploy(dir, stream(t, steps...)); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: error is %v, want ENOSPC", name, err)
		}
	}
	if got := read(t, dir+"/f"); got != "old" {
		t.Errorf("content is %.20q, want %q", got, "old")
	}
	expectNoTemporaries(t, dir)

	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	for name, steps := range map[string][]any{
		"create":     {tbdiff.FileCreate{Name: "n", Mode: plain}},
		"directory":  {tbdiff.DirCreate{Name: "n", Mode: directory}},
		"delta":      {tbdiff.FileDelta{Name: "f", Mode: plain}},
		"metadata":   {tbdiff.FileMetadata{Name: "f", Mode: plain}},
		"attributes": {tbdiff.XattrsUpdate{Name: "f", Attributes: []tbdiff.Xattr{{Name: "user.a"}}}},
		"delete":     {tbdiff.EntityDelete{Name: "f"}},
	} {
		if _, err := deploy(dir, stream(t, steps...)); !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: error is %v, want EROFS", name, err)
		}
	}
}

func TestDeployCancelled(t *testing.T) {
	root := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	tree, err := rootfs.Open(root)
	must(t, err)
	defer tree.Close()
	b := stream(t,
		tbdiff.FileCreate{Name: "whole", Mode: plain}, content("x"),
		tbdiff.FileCreate{Name: "part", Mode: plain}, content(strings.Repeat("x", 5<<20)),
	)
	_, err = tree.Deploy(ctx, tbdiff.NewReader(bytes.NewReader(b)), rootfs.Options{Progress: func(s rootfs.Stats) {
		if s.NewBytes > 1<<20 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
	if got := describe(t, root); len(got) != 1 || got[0].Path != "whole" {
		t.Errorf("tree holds %v, want the whole file only", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	root := t.TempDir()
	write(t, root+"/f", "")
	for path, want := range map[string]error{root + "/none": unix.ENOENT, root + "/f": unix.ENOTDIR} {
		if _, err := rootfs.Open(path); !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("error is %v, want %v with the path", err, want)
		}
	}
}
