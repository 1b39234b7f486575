package rootfs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// reshapeTree makes a small root filesystem.
func reshapeTree(t *testing.T) (string, *Tree) {
	t.Helper()
	top := t.TempDir()
	for _, d := range []string{"etc", "usr/bin", "var/lib/empty", "var/log/deep"} {
		if err := os.MkdirAll(filepath.Join(top, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"etc/fstab": "old\n", "usr/bin/true": "x", "var/log/deep/file": "kept", "var/log/top": "kept too"} {
		if err := os.WriteFile(filepath.Join(top, name), []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/usr/bin", filepath.Join(top, "var/link")); err != nil {
		t.Fatal(err)
	}
	tree, err := Open(top)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return top, tree
}

// listing gives all paths below top with the content of plain files.
func listing(t *testing.T, top string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == top {
			return err
		}
		name, _ := filepath.Rel(top, path)
		all[name] = d.Type().String()
		if d.Type().IsRegular() {
			content, err := os.ReadFile(path)
			all[name] = string(content)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPromote(t *testing.T) {
	for _, c := range []struct {
		name, directory string
		want            map[string]string
	}{
		{"one level", "var", map[string]string{
			"lib": "d---------", "lib/empty": "d---------", "link": "L---------", "log": "d---------",
			"log/deep": "d---------", "log/deep/file": "kept", "log/top": "kept too",
		}},
		{"two levels", "var/log", map[string]string{"deep": "d---------", "deep/file": "kept", "top": "kept too"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			top, tree := reshapeTree(t)
			at := filepath.Join(top, c.directory)
			if err := os.Chown(at, 3, 4); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(at, 0o2770|os.ModeSetgid); err != nil {
				t.Fatal(err)
			}
			if err := unix.UtimesNano(at, []unix.Timespec{{Sec: 1}, {Sec: 1700000000, Nsec: 5}}); err != nil {
				t.Fatal(err)
			}
			if err := tree.Promote(t.Context(), c.directory); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, listing(t, top)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
			var st unix.Stat_t
			if err := unix.Stat(top, &st); err != nil {
				t.Fatal(err)
			}
			got := []int64{int64(st.Uid), int64(st.Gid), int64(st.Mode & permissions), int64(st.Mtim.Sec), int64(st.Mtim.Nsec)}
			if diff := cmp.Diff([]int64{3, 4, 0o2770, 1700000000, 5}, got); diff != "" {
				t.Errorf("metadata of the top (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClear(t *testing.T) {
	top, tree := reshapeTree(t)
	if err := tree.Clear(t.Context(), "var"); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"etc": "d---------", "etc/fstab": "old\n", "usr": "d---------", "usr/bin": "d---------", "usr/bin/true": "x", "var": "d---------"}
	if diff := cmp.Diff(want, listing(t, top)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

func TestWriteFile(t *testing.T) {
	top, tree := reshapeTree(t)
	for name, mode := range map[string]os.FileMode{"etc/fstab": 0o640, "etc/new": 0o644} {
		if err := tree.WriteFile(name, []byte("new\n")); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(top, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s has the mode %v, %v; want %v", name, info.Mode(), err, mode)
		}
		if got := listing(t, top)[name]; got != "new\n" {
			t.Errorf("%s holds %q", name, got)
		}
	}
}

func TestReshapeFollowsNothing(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "canary"), []byte("alive"), 0o600); err != nil {
		t.Fatal(err)
	}
	top, tree := reshapeTree(t)
	if err := os.Symlink(outside, filepath.Join(top, "out")); err != nil {
		t.Fatal(err)
	}
	for name, act := range map[string]func() error{
		"clear":           func() error { return tree.Clear(t.Context(), "out") },
		"clear below":     func() error { return tree.Clear(t.Context(), "out/x") },
		"promote below":   func() error { return tree.Promote(t.Context(), "out/x") },
		"write below":     func() error { return tree.WriteFile("out/canary", []byte("dead")) },
		"write over link": func() error { return tree.WriteFile("out", []byte("dead")) },
		"leave":           func() error { return tree.Clear(t.Context(), "..") },
	} {
		if err := act(); err == nil {
			t.Errorf("%s: it was done", name)
		}
	}
	if content, err := os.ReadFile(filepath.Join(outside, "canary")); err != nil || string(content) != "alive" {
		t.Errorf("the canary: %q, %v", content, err)
	}
}
