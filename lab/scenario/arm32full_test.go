//go:build full

package scenario_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/trebuchet-update/tbupdate/lab/image"
	"github.com/trebuchet-update/tbupdate/lab/machine"
)

// programs32 are what a machine needs to update itself: package by path below /usr.
var programs32 = map[string]string{
	"bin/tbupdate":                                   "./cmd/tbupdate",
	"lib/tbupdate/plugins/tbupdate-fs-btrfs":         "./plugins/btrfs",
	"lib/tbupdate/plugins/tbupdate-boot-flashkernel": "./plugins/flashkernel",
}

// TestUpdateBy32BitPrograms has the programs for 32-bit ARM update a machine. Its kernel
// has 64 bits and runs them as they are: every request to the kernel, those of btrfs
// with their structures as well, comes from a program with 32 bits.
func TestUpdateBy32BitPrograms(t *testing.T) {
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	platform, err := image.Find("uboot")
	if err != nil {
		t.Fatal(err)
	}
	m, err := machine.NewWorkshop(top).New(t.Context(), platform, machine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.PowerOn(); err != nil {
		t.Fatal(err)
	}
	_, position, err := m.AwaitUp(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	shell := func(command string) string {
		t.Helper()
		output, err := m.Shell(t.Context(), command)
		if err != nil {
			t.Fatal(err)
		}
		return output
	}
	deliver := func(file string) string {
		t.Helper()
		read, err := m.Deliver(file)
		if err != nil {
			t.Fatal(err)
		}
		return read
	}

	shell(deliver(archive32(t, top)) + " | busybox tar -x -C /usr")
	const class = "head -c 5 /usr/bin/tbupdate | tail -c 1 | od -A n -t u1" // e_ident[EI_CLASS] of elf(5)
	if got := shell(class); got != "   1" {
		t.Fatalf("the class of the program is %q, want 1: 32 bits", got)
	}
	next, err := m.Releases.Next(t.Context(), m.Installed, "good")
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := m.Releases.Bundle(t.Context(), m.Installed, next)
	if err != nil {
		t.Fatal(err)
	}
	shell(deliver(bundle) + " | tbupdate apply - --no-reboot")
	if err := m.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	running, _, err := m.AwaitUp(t.Context(), position)
	if err != nil {
		t.Fatal(err)
	}
	if running.Version != next.Version || !running.Trial || running.Kernel != next.Kernel.Release {
		t.Errorf("version %s with kernel %s runs (trial: %v), want the trial of version %s with kernel %s",
			running.Version, running.Kernel, running.Trial, next.Version, next.Kernel.Release)
	}
}

// archive32 builds the programs and packs them.
func archive32(t *testing.T, top string) string {
	t.Helper()
	directory := t.TempDir()
	tree := filepath.Join(directory, "usr")
	for path, source := range programs32 {
		run(t, top, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(tree, path), source)
	}
	archive := filepath.Join(directory, "usr.tar")
	run(t, top, "tar", "-c", "--owner=0", "--group=0", "--mode=u=rwX,go=rX", "-C", tree, "-f", archive, ".")
	return archive
}

func run(t *testing.T, directory, program string, arguments ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, arguments...)
	command.Dir = directory
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=arm", "GOARM=7")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, output)
	}
}
