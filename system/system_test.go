// Package system_test tests what joins the updater with a machine's start: the units,
// the script for other init systems, the hook of the initramfs. That a machine boots
// with them is shown in the lab.
package system_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unitDirectory gives a directory with the units, enabled as their [Install] sections
// say, whose program is there.
func unitDirectory(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	units, err := filepath.Glob("*.service")
	if err != nil || len(units) != 3 {
		t.Fatalf("the units are %v, %v", units, err)
	}
	for _, unit := range units {
		content, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(content), "/usr/bin/tbupdate", "/bin/true")
		_, wanted, found := strings.Cut(text, "WantedBy=")
		if !found {
			t.Fatalf("%s cannot be enabled", unit)
		}
		wants := filepath.Join(directory, strings.Fields(wanted)[0]+".wants")
		if err := errors.Join(os.WriteFile(filepath.Join(directory, unit), []byte(text), 0o644), os.MkdirAll(wants, 0o755),
			os.Symlink("../"+unit, filepath.Join(wants, unit))); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

// TestUnits has systemd load the units and put their jobs into an order, for a normal
// boot with the check for failed units wired in, and for an emergency.
func TestUnits(t *testing.T) {
	t.Parallel()
	directory := unitDirectory(t)
	for _, target := range []string{"multi-user.target", "graphical.target", "emergency.target", "boot-complete.target", "tbupdate-confirm.service"} {
		verify := exec.Command("systemd-analyze", "--man=no", "--recursive-errors=yes", "verify", target)
		verify.Dir = directory
		verify.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+directory+":") // and the standard ones
		output, err := verify.CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) {
			t.Fatal("systemd-analyze is missing: install the package systemd")
		}
		for line := range strings.Lines(string(output)) {
			if strings.Contains(line, "tbupdate") || strings.Contains(line, "cycle") {
				t.Errorf("%s: %s", target, line)
			}
		}
	}
}

// TestUnitsThatWaitForEachOther makes sure that the test above would notice.
func TestUnitsThatWaitForEachOther(t *testing.T) {
	t.Parallel()
	directory := unitDirectory(t)
	path := directory + "/tbupdate-confirm.service"
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(content, []byte("Before=shutdown.target"), []byte("Before=sysinit.target"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	verify := exec.Command("systemd-analyze", "--man=no", "verify", "multi-user.target")
	verify.Dir = directory
	verify.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+directory+":")
	if output, _ := verify.CombinedOutput(); !strings.Contains(string(output), "cycle") {
		t.Errorf("a cycle was not noticed:\n%s", output)
	}
}

func TestScriptsAreClean(t *testing.T) {
	t.Parallel()
	scripts := []string{"tbupdate-rc", "initramfs-tools/hooks/tbupdate", "initramfs-tools/scripts/init-top/tbupdate", "initramfs-tools/scripts/init-bottom/tbupdate"}
	if output, err := exec.Command("shellcheck", scripts...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	for _, script := range scripts {
		if info, err := os.Stat(script); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", script, info.Mode(), err)
		}
	}
}

// TestRC runs the script with a program that notes how it was called, with the shells
// that machines have: the boot goes on whatever comes of it.
func TestRC(t *testing.T) {
	t.Parallel()
	for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "sh"}} {
		t.Run(shell[0], func(t *testing.T) {
			t.Parallel()
			work := t.TempDir()
			program := "#!/bin/sh\n[ \"$3\" = guard ] && exec sleep 0.5\necho \"$*\" >>" + work + "/called\nexit 6\n"
			if err := os.WriteFile(work+"/tbupdate", []byte(program), 0o755); err != nil {
				t.Fatal(err)
			}
			run := func(stage string) (int, string) {
				command := exec.Command(shell[0], append(shell[1:], "tbupdate-rc", stage)...)
				command.Env = []string{"PATH=" + work + ":/usr/bin:/bin", "TBUPDATE=tbupdate --boot other"}
				output, err := command.CombinedOutput()
				if command.ProcessState == nil {
					t.Fatalf("cannot run %s: %v", shell[0], err)
				}
				return command.ProcessState.ExitCode(), string(output)
			}
			for _, c := range []struct {
				stage, called, said string
				code                int
			}{
				{"early", "--boot other recover\n", "the boot was not judged", 0},
				{"up", "--boot other confirm --check\n", "the boot was not confirmed", 0},
				{"late", "", "usage: tbupdate-rc early|up", 2},
			} {
				_ = os.Remove(work + "/called")
				code, said := run(c.stage)
				called, _ := os.ReadFile(work + "/called")
				if code != c.code || !strings.Contains(said, c.said) {
					t.Errorf("%s: exit code %d, %q", c.stage, code, said)
				}
				if diff := cmp.Diff(c.called, string(called)); diff != "" {
					t.Errorf("%s calls (-want +got):\n%s", c.stage, diff)
				}
			}
		})
	}
}
