package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// TestJudge gives the judge machines on which something is wrong: it has to find that, and nothing on one that is
// as it should be.
func TestJudge(t *testing.T) {
	s := newTestWorkshop(t)
	work := t.TempDir()
	base := &machine{Workshop: s, loader: loaders[slices.IndexFunc(loaders, func(l loader) bool { return l.name() == "grub" })],
		image: filepath.Join(work, "disk"), work: work}
	ctx := t.Context()
	if err := newDisk(ctx, base.image, base.loader, s.systems[first]); err != nil {
		t.Fatal(err)
	}
	if err := base.prepare(ctx, workload{prepare: append(settled[:len(settled):len(settled)], applies(second))}, 1); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join("snapshots", "root")
	kernel := s.systems[second].kernel
	for _, test := range []struct {
		name  string
		wrong func(m *machine, d *disk) error
		want  string // "" for nothing
	}{
		{"nothing", func(*machine, *disk) error { return nil }, ""},
		{"another kernel", inBootOf("vmlinuz*", overwrite), "another kernel"},
		{"another initial RAM disk", inBootOf("initrd*", overwrite), "another initial RAM disk"},
		{"a file of the root has other content", inVolumeAt(root+"/usr/lib/modules/"+kernel+"/kernel/a.ko", overwrite), "is not whole"},
		{"a file of the root is gone", inVolumeAt(root+"/usr/lib/modules/"+kernel+"/kernel/a.ko", os.Remove), "is not whole"},
		{"a file of the root has another mode", inVolumeAt(root+"/etc/os-release", func(path string) error { return os.Chmod(path, 0o600) }), "is not whole"},
		{"a file of the root has another owner", inVolumeAt(root+"/etc/os-release", func(path string) error { return os.Chown(path, 1, 1) }), "is not whole"},
		{"the root has a file more", inVolumeAt(root+"/etc", func(path string) error { return os.WriteFile(path+"/more", nil, 0o600) }), "is not whole"},
		{"the root is of no release", inVolumeAt(root+"/etc/os-release", overwrite), "no system that is known"},
		{"it boots what it should not", inBootOf("", func(top string) error {
			return run(ctx, "grub-editenv", top+"/tbupdate/grubenv", "unset", "tbupdate_trial")
		}), "it boots 1.0, and should boot 2.0 on trial"},
		{"recover fails", inVolumeAt("tbupdate/journal.json", overwrite), "tbupdate recover"},
		{"a second recover changes something", updaterThat(`"$real" "$@" || exit
case "$5" in recover) unshare -m sh -c "mount $boot /mnt && date +%N >/mnt/changes && umount /mnt" ;; esac`), "a second recover changed something: boot/changes"},
		{"recover leaves it at something else", updaterThat(`"$real" "$@" || exit
case "$5" in recover) "$real" --config "$2" --cmdline "$4" rollback || true ;; esac`), "its state is"},
		{"confirm does nothing", updaterThat(`case "$5" in confirm) ;; *) exec "$real" "$@" ;; esac`), "it boots 1.0, and should boot 2.0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := *base
			m.work = t.TempDir()
			m.image = filepath.Join(m.work, "disk")
			if err := run(t.Context(), "cp", "--sparse=always", base.image, m.image); err != nil {
				t.Fatal(err)
			}
			if err := attached(m.image, func(d *disk) error { return test.wrong(&m, d) }); err != nil {
				t.Fatal(err)
			}
			_, err := m.judge(t.Context(), []string{second + onTrial})
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("the judge says %v, want %q", err, test.want)
			}
		})
	}
}

// overwrite changes the first bytes of a file.
func overwrite(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte("something else"), 0)
	return errors.Join(err, file.Close())
}

// inBootOf does something to the files of the trial's entry in /boot that match, or to /boot itself for "".
func inBootOf(pattern string, act func(path string) error) func(*machine, *disk) error {
	return func(m *machine, d *disk) error {
		return loopback.Mounted(d.boot, loopback.Ext4, func(top string) error {
			if pattern == "" {
				return act(top)
			}
			state, err := os.ReadFile(filepath.Join(top, "tbupdate/grubenv"))
			if err != nil {
				return err
			}
			_, trial, _ := strings.Cut(string(state), "tbupdate_trial=")
			trial, _, _ = strings.Cut(trial, "\n")
			files, err := filepath.Glob(filepath.Join(top, "tbupdate", trial, pattern))
			if err != nil || trial == "" || len(files) != 1 {
				return fmt.Errorf("%s of the trial %q are the files %q: %w", pattern, trial, files, err)
			}
			return act(files[0])
		})
	}
}

// inVolumeAt does something to a file of the volume.
func inVolumeAt(path string, act func(path string) error) func(*machine, *disk) error {
	return func(_ *machine, d *disk) error {
		return loopback.Mounted(d.root, loopback.Btrfs, func(top string) error { return act(filepath.Join(top, path)) }, "subvolid=5")
	}
}

// updaterThat gives the machine an updater that is a script of the shell. It has the path of the real one, the device of
// /boot, and as its fifth argument the command.
func updaterThat(does string) func(*machine, *disk) error {
	return func(m *machine, _ *disk) error {
		programs, real := filepath.Join(m.work, "programs"), filepath.Join(m.programs, "bin/tbupdate")
		if err := os.MkdirAll(filepath.Join(programs, "bin"), 0o755); err != nil {
			return err
		}
		script := fmt.Sprintf("#!/bin/sh\nreal=%s boot=$(sed -n 's/^device = \"\\(.*\\)\"/\\1/p' %s | tail -n 1)\n%s\n", real, m.config(), does)
		err := errors.Join(run(context.Background(), "cp", "-a", filepath.Join(m.programs, "plugins"), programs),
			os.WriteFile(filepath.Join(programs, "bin/tbupdate"), []byte(script), 0o755))
		shop := *m.Workshop
		shop.programs, m.Workshop = programs, &shop
		return err
	}
}
