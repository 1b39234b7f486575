package pluginhost_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/pluginhost"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// message is an error's text without what differs from run to run.
func message(err error, program string) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), program, "PROGRAM")
}

// TestStartFaults lists what a user sees for each way in which a plugin can fail
// to start.
func TestStartFaults(t *testing.T) {
	for _, test := range []struct {
		kind      sdk.Kind
		behaviour string
		want      string
	}{
		{"fs", "exits", `plugin fs-exits (PROGRAM) exited before it was ready (exit status 3); it wrote: the library libmissing.so is not there`},
		{"fs", "prints", `plugin fs-prints (PROGRAM) printed "Hello, I am a plugin!" on standard output before it was served; a plugin must print nothing there`},
		{"fs", "hangs", `plugin fs-hangs (PROGRAM) was not ready within 2s`},
		{"fs", "version", `plugin fs-version (PROGRAM) speaks version 7 of the plugin contract; this host speaks 1`},
		{"fs", "coreversion", `plugin fs-coreversion (PROGRAM) speaks version 2 of go-plugin's protocol; this host speaks 1`},
		{"fs", "netrpc", `plugin fs-netrpc (PROGRAM) does not speak gRPC; its handshake was "1|1|unix|DIR/socket|netrpc|"`},
		{"fs", "elsewhere", `plugin fs-elsewhere (PROGRAM) could not be connected to: it listens at unix "/run/dbus/system_bus_socket" instead of a socket in its own directory`},
		{"fs", "tcp", `plugin fs-tcp (PROGRAM) could not be connected to: it listens at tcp "127.0.0.1:22" instead of a socket in its own directory`},
		{"fs", "othername", `plugin fs-othername (PROGRAM) says that its name is "somebody-else"`},
		{"fs", "otherkind", `plugin fs-otherkind (PROGRAM) says that it is of kind "boot", not "fs"`},
		{"boot", "otherkind", `plugin boot-otherkind (PROGRAM) says that it is of kind "fs", not "boot"`},
		{"fs", "diesindescribe", `plugin fs-diesindescribe (PROGRAM) died in Plugin.Describe (exit status 4); it wrote: out of cheese`},
		{"fs", "hangsindescribe", `plugin fs-hangsindescribe (PROGRAM) hangs in Plugin.Describe: it did not end after it was cancelled`},
	} {
		t.Run(string(test.kind)+" "+test.behaviour, func(t *testing.T) {
			t.Parallel()
			s := spec(t, test.kind, test.behaviour)
			s.Limits = pluginhost.Limits{Start: 2 * time.Second, ReadGrace: 100 * time.Millisecond, Stop: 100 * time.Millisecond}
			if !strings.HasPrefix(test.behaviour, "hangs") {
				s.Limits.Start = time.Minute // the machine may be busy
			}
			p, err := pluginhost.Start(t.Context(), s)
			if err == nil {
				_ = p.Stop(context.Background())
			}
			var fault *pluginhost.Error
			if !errors.As(err, &fault) {
				t.Fatalf("got error %v (%T), want a *pluginhost.Error", err, err)
			}
			got := message(err, fault.Path)
			if private := filepath.Join(s.RunDirectory, "plugin-"); strings.Contains(got, private) {
				from := strings.Index(got, private)
				to := from + strings.Index(got[from:], "/socket")
				got = got[:from] + "DIR" + got[to:]
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCallFaults lists what a user sees when a plugin fails in the middle of its
// work.
func TestCallFaults(t *testing.T) {
	prepare := func(ctx context.Context, p *pluginhost.Process) error { return p.FS().Prepare(ctx) }
	lookup := func(ctx context.Context, p *pluginhost.Process) error {
		_, err := p.FS().Lookup(ctx, "snapshots/root")
		return err
	}
	changes := func(ctx context.Context, p *pluginhost.Process) error {
		return p.FS().Changes(ctx, "1", "2", func(sdk.Change) error { return nil })
	}
	arm := func(ctx context.Context, p *pluginhost.Process) error { return p.Boot().Arm(ctx, "1", 1) }
	for _, test := range []struct {
		name      string
		kind      sdk.Kind
		behaviour string
		call      func(context.Context, *pluginhost.Process) error
		want      string
		ends      bool // the plugin is of no use any more
	}{
		{"panic", "fs", "panics", prepare, `cannot run FS.Prepare: the plugin panicked: index out of cheese`, false},
		{"panic in a stream", "fs", "panics", changes, `cannot run FS.Changes: the plugin panicked: index out of cheese`, false},
		{"exit", "fs", "dies", prepare, `plugin fs-dies (PROGRAM) died in FS.Prepare (exit status 5); it wrote: cannot go on`, true},
		{"exit in a stream", "fs", "dies", changes, `plugin fs-dies (PROGRAM) died in FS.Changes (exit status 5); it wrote: cannot go on`, true},
		{"exit of a boot plugin", "boot", "dies", arm, `plugin boot-dies (PROGRAM) died in Boot.Arm (exit status 5); it wrote: cannot go on`, true},
		{"crash", "fs", "crashes", prepare, `plugin fs-crashes (PROGRAM) died in FS.Prepare (exit status 2); it wrote: panic: in a goroutine of its own`, true},
		{"exit with a helper left", "fs", "dieswithhelper", prepare, `plugin fs-dieswithhelper (PROGRAM) died in FS.Prepare (exit status 6)`, true},
		{"slow, obeys", "fs", "obeys", prepare, `plugin fs-obeys (PROGRAM) was too slow: FS.Prepare did not end within 300ms and was cancelled`, false},
		{"slow read, obeys", "fs", "obeys", lookup, `plugin fs-obeys (PROGRAM) was too slow: FS.Lookup did not end within 200ms and was cancelled`, false},
		{"slow stream, obeys", "fs", "obeys", changes, `plugin fs-obeys (PROGRAM) was too slow: FS.Changes did not end within 300ms and was cancelled`, false},
		{"hang in a change", "fs", "deaf", prepare, `plugin fs-deaf (PROGRAM) hangs in FS.Prepare: it did not end within 300ms, nor after it was cancelled`, true},
		{"hang in a read", "fs", "deaf", lookup, `plugin fs-deaf (PROGRAM) hangs in FS.Lookup: it did not end within 200ms, nor after it was cancelled`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := spec(t, test.kind, test.behaviour)
			s.Limits = pluginhost.Limits{Start: time.Minute, Stop: 200 * time.Millisecond}
			if strings.HasPrefix(test.name, "slow") || strings.HasPrefix(test.name, "hang") {
				s.Limits.Change, s.Limits.Read = 300*time.Millisecond, 200*time.Millisecond
			}
			if strings.HasPrefix(test.name, "hang") {
				s.Limits.ChangeGrace, s.Limits.ReadGrace = 100*time.Millisecond, 100*time.Millisecond
			}
			p := configured(t, s, nil)
			err := test.call(t.Context(), p)
			if diff := cmp.Diff(test.want, message(err, p.Path())); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			if got := sdk.CodeOf(err); got != sdk.CodeInternal {
				t.Errorf("code %q, want %q", got, sdk.CodeInternal)
			}
			again := p.Configure(t.Context(), sdk.Setup{})
			if test.ends && again != err {
				t.Errorf("the next call gave %v, want the same error", again)
			}
			if !test.ends && !errors.Is(again, sdk.ErrInvalid) {
				t.Errorf("the next call gave %v, want the plugin's own error", again)
			}
		})
	}
}

// TestNonsense lists answers that no plugin can mean.
func TestNonsense(t *testing.T) {
	for _, test := range []struct {
		kind      sdk.Kind
		behaviour string
		call      func(context.Context, *pluginhost.Process) error
		want      string
	}{
		{"fs", "emptyidentity", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.FS().Lookup(ctx, "snapshots/root")
			return err
		}, `Lookup gave a subvolume with the name "snapshots/root" and no identity`},
		{"fs", "emptyidentity", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.FS().Default(ctx)
			return err
		}, `Default gave a subvolume with the name "snapshots/root" and no identity`},
		{"fs", "relativepath", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.FS().Get(ctx, "256")
			return err
		}, `Get gave the path "snapshots/root", which is not absolute and clean`},
		{"fs", "uncleanpath", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.FS().Booted(ctx, "root=/dev/sda")
			return err
		}, `Booted gave the path "/run/volume/../../etc", which is not absolute and clean`},
		{"fs", "relativepath", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.FS().StateDirectory(ctx)
			return err
		}, `StateDirectory gave the path "state", which is not absolute and clean`},
		{"fs", "good", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.FS().Get(ctx, "257")
			return err
		}, `Get gave subvolume 256 instead of 257`},
		{"fs", "good", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.FS().Snapshot(ctx, "256", "snapshots/new", false)
			return err
		}, `Snapshot gave subvolume 256 itself instead of a snapshot of it`},
		{"fs", "good", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.FS().Snapshot(ctx, "255", "snapshots/new", false)
			return err
		}, `Snapshot gave a snapshot with the name "snapshots/root" instead of "snapshots/new"`},
		{"fs", "good", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.FS().Snapshot(ctx, "255", "snapshots/root", true)
			return err
		}, `Snapshot gave a snapshot whose read-only flag is false instead of true`},
		{"fs", "morefreethantotal", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.FS().Volume(ctx)
			return err
		}, `Volume gave a volume with 101 bytes free of 100`},
		{"fs", "brokenarguments", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.FS().KernelArguments(ctx, "256")
			return err
		}, `KernelArguments gave the kernel argument "root=a\ninit=/bin/sh"`},
		{"fs", "brokenmountline", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.FS().MountLine(ctx, "256", "/var")
			return err
		}, `MountLine gave the mount line "none / tmpfs\nnone /etc tmpfs"`},
		{"fs", "escapingchange", func(ctx context.Context, p *pluginhost.Process) error {
			return p.FS().Changes(ctx, "1", "2", func(sdk.Change) error { return nil })
		}, `Changes gave the path "../etc/passwd", which is not a clean relative one`},
		{"boot", "nokernel", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.Boot().Inspect(ctx, "/")
			return err
		}, `Inspect gave a kernel set with 0 kernels`},
		{"boot", "escapingfile", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.Boot().Install(ctx, sdk.Entry{ID: "1"})
			return err
		}, `Install gave the path "../etc/passwd", which is not a clean relative one`},
		{"boot", "morefreethantotal", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.Boot().Room(ctx)
			return err
		}, `Room gave 2 bytes free of 1`},
		{"boot", "unknowntrial", func(ctx context.Context, p *pluginhost.Process) error {
			_, err := p.Boot().State(ctx)
			return err
		}, `State gave the trial "2", which is not among the entries`},
	} {
		t.Run(test.want, func(t *testing.T) {
			t.Parallel()
			p := configured(t, spec(t, test.kind, test.behaviour), nil)
			want := "plugin " + string(test.kind) + "-" + test.behaviour + " (PROGRAM) answers nonsense: " + test.want
			err := test.call(t.Context(), p)
			got, _, _ := strings.Cut(message(err, p.Path()), "; it wrote: ")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHelperOfDeadPlugin: what a dead plugin left running does not keep the host
// waiting, and is gone after Stop.
func TestHelperOfDeadPlugin(t *testing.T) {
	t.Parallel()
	for _, behaviour := range []string{"dieswithhelper", "leaveshelper"} {
		t.Run(behaviour, func(t *testing.T) {
			t.Parallel()
			s := spec(t, sdk.KindFS, behaviour)
			p := configured(t, s, nil)
			_ = p.FS().Prepare(t.Context())
			if err := p.Stop(t.Context()); err != nil && behaviour == "leaveshelper" {
				t.Error(err)
			}
			data, err := os.ReadFile(filepath.Join(s.RunDirectory, "record"))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(data), "helper ") {
				t.Fatalf("no helper was started: %s", data)
			}
			for _, field := range record(t, s.RunDirectory) {
				if pid := number(field); pid > 0 {
					checkGone(t, pid)
				}
			}
		})
	}
}
