package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/conformance"
	"github.com/trebuchet-update/tbupdate/sdk/launch"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) { loopback.Main(m) }

// newTestPlugin gives the plugin without a process around it.
func newTestPlugin(testing.TB) sdk.FS { return newPlugin("test") }

func TestConformance(t *testing.T) {
	conformance.FS(t, func(t testing.TB) conformance.FSVolume { return freshVolume(t, newTestPlugin) })
}

func TestConformanceThroughProcess(t *testing.T) {
	program := conformance.Build(t, ".")
	conformance.FS(t, func(t testing.TB) conformance.FSVolume {
		started := processes{}
		volume := freshVolume(t, func(t testing.TB) sdk.FS { return started.start(t, program) })
		volume.Kill = started.kill
		return volume
	})
}

// processes are the plugin processes of one test.
type processes map[sdk.FS]*launch.Process

func (p processes) start(t testing.TB, program string) sdk.FS {
	t.Helper()
	process := conformance.Start(t, program)
	fs := process.FS()
	p[fs] = process
	return fs
}

func (p processes) kill(t testing.TB, fs sdk.FS) {
	t.Helper()
	if err := unix.Kill(p[fs].PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p[fs].Exited()
	delete(p, fs)
}

// freshVolume makes an empty btrfs, which nothing but the plugin mounts.
func freshVolume(t testing.TB, start func(testing.TB) sdk.FS) conformance.FSVolume {
	t.Helper()
	device := loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs})
	other := loopback.New(t, loopback.Options{Filesystem: loopback.Ext2, Size: 1 << 20})
	return conformance.FSVolume{
		Setup: sdk.Setup{Settings: map[string]string{"device": device.Path}},
		Start: start,
		Create: func(t testing.TB, name string) {
			t.Helper()
			top := device.Mount(t, "subvolid=5")
			defer device.Unmount(t, top)
			if err := os.MkdirAll(filepath.Join(top, filepath.Dir(name)), 0o755); err != nil {
				t.Fatal(err)
			}
			run(t, "btrfs", "subvolume", "create", filepath.Join(top, name))
		},
		Mount: func(t testing.TB, id sdk.Identity) string {
			t.Helper()
			return device.Mount(t, "subvolid="+string(id))
		},
		Refused: map[string]conformance.RefusedSettings{
			"no device":      {Settings: nil, Want: sdk.ErrInvalid},
			"no tag":         {Settings: map[string]string{"device": "sda1"}, Want: sdk.ErrInvalid},
			"unknown tag":    {Settings: map[string]string{"device": "PARTNAME=root"}, Want: sdk.ErrInvalid},
			"nobody's UUID":  {Settings: map[string]string{"device": "UUID=6a6c2a4b-2b5a-4f0e-8f8e-000000000000"}, Want: sdk.ErrNotFound},
			"nobody's label": {Settings: map[string]string{"device": "LABEL=nobody has this label"}, Want: sdk.ErrNotFound},
			"missing device": {Settings: map[string]string{"device": "/dev/none"}, Want: sdk.ErrNotFound},
			"not btrfs":      {Settings: map[string]string{"device": other.Path}, Want: sdk.ErrUnsupported},
			"not a device":   {Settings: map[string]string{"device": "/dev"}, Want: sdk.ErrUnsupported},
			"not a disk":     {Settings: map[string]string{"device": "/dev/null"}, Want: sdk.ErrUnsupported},
		},
	}
}

// run runs a program and fails the test when that fails.
func run(t testing.TB, name string, arguments ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v; install btrfs-progs", err)
	}
	output, err := exec.CommandContext(t.Context(), path, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, arguments, err, output)
	}
	return string(output)
}
