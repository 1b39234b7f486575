package pluginhost_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/pluginhost"
	"github.com/trebuchet-update/tbupdate/sdk"
)

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

func TestLife(t *testing.T) {
	t.Parallel()
	s := spec(t, sdk.KindFS, "good")
	p := configured(t, s, map[string]string{"device": "/dev/sda", "level": "3"})
	if d, err := p.Describe(t.Context()); err != nil || !d.Has(sdk.CapabilityExchange) || !d.Has("vendor.unknown") {
		t.Errorf("Describe gave %v, %v", d, err)
	}
	if err := p.FS().Prepare(t.Context()); err != nil {
		t.Error(err)
	}
	list, err := p.FS().List(t.Context())
	if err != nil || len(list) != 3 {
		t.Errorf("List gave %d subvolumes, %v", len(list), err)
	}
	for range 2 {
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	checkGone(t, p.PID())
	if diff := cmp.Diff([]string{"configure", "prepare", "close"}, record(t, s.RunDirectory)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestOrder: every method before Configure, and a second Configure, is refused.
func TestOrder(t *testing.T) {
	t.Parallel()
	s := spec(t, sdk.KindFS, "good")
	p := start(t, s)
	if err := p.FS().Flush(t.Context()); !errors.Is(err, sdk.ErrInvalid) {
		t.Errorf("Flush before Configure gave %v", err)
	}
	if err := p.Configure(t.Context(), sdk.Setup{}); err != nil {
		t.Error(err)
	}
	if err := p.Configure(t.Context(), sdk.Setup{}); !errors.Is(err, sdk.ErrInvalid) {
		t.Errorf("a second Configure gave %v", err)
	}
}

func TestConfigureErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings map[string]string
		want     string
		code     sdk.Code
	}{
		"of the plugin":    {map[string]string{"device": "/dev/none"}, "cannot open /dev/none: no such device", sdk.CodeNotFound},
		"unknown and type": {map[string]string{"mount": "/", "level": "x"}, `cannot configure good: level is "x", which is not an integer of at most 64 bits; mount is not known; known are device, level`, sdk.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, spec(t, sdk.KindFS, "good"))
			err := p.Configure(t.Context(), sdk.Setup{Settings: test.settings})
			if diff := cmp.Diff(test.want, fmt.Sprint(err)); diff != "" || sdk.CodeOf(err) != test.code {
				t.Errorf("code %q, message (-want +got):\n%s", sdk.CodeOf(err), diff)
			}
			if err := p.FS().Flush(t.Context()); !errors.Is(err, sdk.ErrInvalid) {
				t.Errorf("Flush after a failed Configure gave %v", err)
			}
		})
	}
}

// TestSurroundings: a plugin sees nothing of the host's environment, working
// directory and descriptors, and neither do the programs that it starts.
func TestSurroundings(t *testing.T) {
	t.Setenv("SECRET", "must not be seen")
	inherited, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = inherited.Close() }()
	// As if this process had got it from its parent.
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, inherited.Fd(), syscall.F_SETFD, 0); errno != 0 {
		t.Fatal(errno)
	}
	p := configured(t, spec(t, sdk.KindFS, "good"), nil)
	findings, err := p.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var environment, helper []string
	for _, f := range findings {
		switch f.Subject {
		case "environment":
			name, _, _ := strings.Cut(f.Problem, "=")
			environment = append(environment, name)
		case "descriptor":
			if strings.Contains(f.Problem, "passwd") || strings.Contains(f.Problem, p.Path()) {
				t.Errorf("inherited descriptor %s", f.Problem)
			}
		case "helper":
			fd, _, _ := strings.Cut(f.Problem[strings.Index(f.Problem, " ")+1:], " ")
			helper = append(helper, fd)
		}
	}
	slices.Sort(environment)
	if diff := cmp.Diff([]string{"LC_ALL", "PATH", "TMPDIR"}, environment); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"0", "1", "2", "3"}, helper); diff != "" { // 3 is the listing's own
		t.Errorf("descriptors of a helper (-want +got):\n%s", diff)
	}
}

// TestStrayPrint: what is printed on standard output in a call goes to the log.
func TestStrayPrint(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := spec(t, sdk.KindFS, "chatty")
	s.Log = &log
	p := configured(t, s, nil)
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff("a stray line on standard output\n", log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// TestLargeAnswer: gRPC's limit of 4 MiB is no trap.
func TestLargeAnswer(t *testing.T) {
	t.Parallel()
	p := configured(t, spec(t, sdk.KindFS, "good"), map[string]string{"level": "40000"})
	list, err := p.FS().List(t.Context())
	if err != nil || len(list) != 40000 {
		t.Errorf("List gave %d subvolumes, %v", len(list), err)
	}
}

func TestTooLargeAnswer(t *testing.T) {
	t.Parallel()
	p := configured(t, spec(t, sdk.KindFS, "good"), map[string]string{"level": "400000"})
	_, err := p.FS().List(t.Context())
	want := "plugin fs-good (PROGRAM) gave an answer to FS.List of more than 64 MiB"
	got, _, _ := strings.Cut(message(err, p.Path()), "; it wrote")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

// TestLeaveStream: emit's error comes back as it is, and ends the call in the
// plugin.
func TestLeaveStream(t *testing.T) {
	t.Parallel()
	s := spec(t, sdk.KindFS, "endless")
	p := configured(t, s, nil)
	enough := errors.New("enough")
	seen := 0
	err := p.FS().Changes(t.Context(), "1", "2", func(sdk.Change) error {
		if seen++; seen == 1000 {
			return enough
		}
		return nil
	})
	if err != enough {
		t.Errorf("got %v, want emit's error", err)
	}
	if err := p.FS().Flush(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"configure", "emit", "failed"}, record(t, s.RunDirectory)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestCancel: a call that is cancelled has ended when it returns.
func TestCancel(t *testing.T) {
	t.Parallel()
	s := spec(t, sdk.KindFS, "slow")
	p := configured(t, s, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for !slices.Contains(record(t, s.RunDirectory), "begin") {
			time.Sleep(10 * time.Millisecond)
		}
	}()
	if err := p.FS().Prepare(ctx); !errors.Is(err, sdk.ErrCancelled) {
		t.Errorf("got %v, want ErrCancelled", err)
	}
	if diff := cmp.Diff([]string{"configure", "prepare", "begin", "cancelled"}, record(t, s.RunDirectory)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if err := p.FS().Flush(t.Context()); err != nil {
		t.Errorf("the plugin is of no use after a cancelled call: %v", err)
	}
	if err := p.FS().Flush(ctx); !errors.Is(err, sdk.ErrCancelled) {
		t.Errorf("a call with a cancelled context gave %v", err)
	}
}

// TestSignals: signals to the plugin alone do nothing while its host lives.
func TestSignals(t *testing.T) {
	t.Parallel()
	s := spec(t, sdk.KindFS, "slow")
	p := configured(t, s, nil)
	go func() {
		for !slices.Contains(record(t, s.RunDirectory), "begin") {
			time.Sleep(10 * time.Millisecond)
		}
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE} {
			_ = syscall.Kill(p.PID(), signal)
		}
	}()
	if err := p.FS().Prepare(t.Context()); err != nil {
		t.Error(err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"configure", "prepare", "begin", "end", "close"}, record(t, s.RunDirectory)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestStopFaults(t *testing.T) {
	t.Parallel()
	for behaviour, want := range map[string]string{
		"failsinclose": `cannot unmount /run/volume: target is busy`,
		"diesinclose":  `plugin fs-diesinclose (PROGRAM) died while it was closed (exit status 7)`,
		"hangsinclose": `plugin fs-hangsinclose (PROGRAM) had to be killed, since it did not stop in time: context deadline exceeded`,
	} {
		t.Run(behaviour, func(t *testing.T) {
			t.Parallel()
			s := spec(t, sdk.KindFS, behaviour)
			if behaviour == "hangsinclose" {
				s.Limits.Stop = 300 * time.Millisecond
			}
			p := configured(t, s, nil)
			if diff := cmp.Diff(want, message(p.Stop(t.Context()), p.Path())); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"configure", "close"}, record(t, s.RunDirectory)); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// TestStopDuringChange: a change under way is waited for, however short the time
// for stopping is.
func TestStopDuringChange(t *testing.T) {
	t.Parallel()
	for _, plugin := range []string{"slow", "slow-stock"} {
		t.Run(plugin, func(t *testing.T) {
			t.Parallel()
			stopDuringChange(t, spec(t, sdk.KindFS, plugin))
		})
	}
}

func stopDuringChange(t *testing.T, s pluginhost.Spec) {
	t.Helper()
	s.Limits.Stop = 100 * time.Millisecond
	p := configured(t, s, nil)
	done := make(chan error)
	go func() { done <- p.FS().Prepare(context.Background()) }()
	eventually(t, "the change is under way", func() bool { return slices.Contains(record(t, s.RunDirectory), "begin") })
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(cancelled); err != nil {
		t.Errorf("Stop gave %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("the change gave %v", err)
	}
	if diff := cmp.Diff([]string{"configure", "prepare", "begin", "end", "close"}, record(t, s.RunDirectory)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestStartCancelled: a start that is cancelled leaves nothing behind.
func TestStartCancelled(t *testing.T) {
	t.Parallel()
	s := spec(t, sdk.KindFS, "hangs")
	s.Limits.Start = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for {
			private, err := filepath.Glob(filepath.Join(s.RunDirectory, "plugin-*"))
			if err != nil || len(private) > 0 {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	_, err := pluginhost.Start(ctx, s)
	want := "plugin fs-hangs (PROGRAM) was stopped while it started: context canceled"
	if diff := cmp.Diff(want, message(err, filepath.Join(s.Directories[0], "tbupdate-fs-hangs"))); diff != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

// TestGrease: the plugin gets along with a capability that it does not know, the
// source alone decides, and the caller's list stays as it was.
func TestGrease(t *testing.T) {
	t.Parallel()
	s := spec(t, sdk.KindFS, "good")
	asked := 0
	s.Grease = func() string { asked++; return "grease.1" }
	p := start(t, s)
	mine := make([]string, 1, 4)
	mine[0] = "host.something"
	if err := p.Configure(t.Context(), sdk.Setup{HostCapabilities: mine}); err != nil {
		t.Error(err)
	}
	if asked != 1 || mine[:2][1] != "" {
		t.Errorf("asked %d times, the caller's list became %q", asked, mine[:2])
	}
}

// TestStartByHand: a person who runs a plugin is told what it is.
func TestStartByHand(t *testing.T) {
	t.Parallel()
	_, program := install(t, sdk.KindFS, "good")
	output, err := exec.Command(program).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("got %v, want exit status 1", err)
	}
	if !strings.HasPrefix(string(output), filepath.Base(program)+" is a plugin of Trebuchet Update and does nothing by itself.\n") {
		t.Errorf("it says %q", output)
	}
}
