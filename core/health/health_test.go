package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// failsUntil is a check that passes from its n-th run on.
func failsUntil(n int) Check {
	runs := 0
	return Check{Name: fmt.Sprintf("passes at run %d", n), Run: func(_ context.Context, output io.Writer) error {
		runs++
		fmt.Fprintf(output, "run %d\n", runs)
		if runs < n {
			return errors.New("not yet")
		}
		return nil
	}}
}

func TestAllChecksAreRunAndFailingOnesRepeated(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		settle   time.Duration
		attempts []int
		healthy  bool
		reason   string
	}{
		{"once", 0, []int{1, 1, 1}, false, "health check passes at run 2 failed: not yet (and passes at run 3)"},
		{"until they pass", time.Minute, []int{2, 1, 3}, true, ""},
		{"until the time is up", 1500 * time.Millisecond, []int{2, 1, 2}, false, "health check passes at run 3 failed: not yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			suite := Suite{Checks: []Check{failsUntil(2), failsUntil(1), failsUntil(3)}, Timeout: time.Minute, Settle: c.settle}
			report, err := suite.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var attempts []int
			for _, result := range report.Checks {
				attempts = append(attempts, result.Attempts)
			}
			if diff := cmp.Diff(c.attempts, attempts); diff != "" {
				t.Errorf("attempts (-want +got):\n%s", diff)
			}
			if report.Healthy != c.healthy || report.Reason() != c.reason {
				t.Errorf("healthy %v, reason %q; want %v, %q", report.Healthy, report.Reason(), c.healthy, c.reason)
			}
		})
	}
}

func TestACancelledRunIsNoVerdict(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancelCause(t.Context())
	suite := Suite{Timeout: time.Minute, Checks: []Check{{Name: "asked to end", Run: func(ctx context.Context, _ io.Writer) error {
		stop(errors.New("the machine goes down"))
		<-ctx.Done()
		return ctx.Err()
	}}}}
	if _, err := suite.Run(ctx); err == nil || err.Error() != "the machine goes down" {
		t.Errorf("error %v", err)
	}
}

func TestOutputKeepsItsEnd(t *testing.T) {
	t.Parallel()
	var output tail
	for i := range 40_000 {
		fmt.Fprintf(&output, "line %d\n", i)
	}
	text := output.String()
	if len(text) > outputLimit+len("…") || !strings.HasSuffix(text, "line 39999\n") || !strings.HasPrefix(text, "…") {
		t.Errorf("%d bytes are kept, from %.20q", len(text), text)
	}
}

func TestLastLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		pieces []string
		want   string
	}{
		{"nothing", nil, ""},
		{"one line", []string{"no carrier\n"}, "no carrier"},
		{"without its end", []string{"no carrier"}, "no carrier"},
		{"in pieces", []string{"looking\nno ", "carrier", "\n\n  \n"}, "no carrier"},
		{"control characters", []string{"\x1b[31mred\tand\x00zero\n"}, " [31mred and zero"},
		{"not text", []string{"\xff\xfe\n"}, "?"},
		{"endless", []string{strings.Repeat("a", 10_000)}, strings.Repeat("a", lineLimit)},
	} {
		var said lastLine
		for _, piece := range c.pieces {
			_, _ = said.Write([]byte(piece))
		}
		if got := said.text(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		unit map[string]string
		want string
	}{
		{"running", map[string]string{"LoadState": "loaded", "ActiveState": "active"}, ""},
		{"done", map[string]string{"LoadState": "loaded", "ActiveState": "inactive", "Type": "oneshot", "Result": "success", "ExecMainExitTimestampMonotonic": "17"}, ""},
		{"never run", map[string]string{"LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead", "Type": "oneshot", "Result": "success", "ExecMainExitTimestampMonotonic": "0"}, "it is inactive (dead, success)"},
		{"stopped", map[string]string{"LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead", "Type": "simple", "Result": "success", "ExecMainExitTimestampMonotonic": "17"}, "it is inactive (dead, success)"},
		{"failed", map[string]string{"LoadState": "loaded", "ActiveState": "failed", "SubState": "failed", "Result": "exit-code"}, "it is failed (failed, exit-code)"},
		{"restarting", map[string]string{"LoadState": "loaded", "ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code"}, "it is activating (auto-restart, exit-code)"},
		{"missing", map[string]string{"LoadState": "not-found", "ActiveState": "inactive"}, "it is not-found"},
	} {
		got := ""
		if err := judgeUnit(c.unit); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestNamesOfUnits(t *testing.T) {
	t.Parallel()
	const list = "bad.service   loaded failed failed bad.service\ncheck.service loaded failed failed Check if Any System Units Failed\n"
	for except, want := range map[string]string{"check.service": ", as did bad.service", "other.service": ", as did bad.service, check.service"} {
		if got := namesOfUnits(list, except); got != want {
			t.Errorf("without %s: %q, want %q", except, got, want)
		}
	}
	if got := namesOfUnits("check.service loaded failed failed Check\n", "check.service"); got != "" {
		t.Errorf("nothing else: %q", got)
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	const head4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	for _, c := range []struct {
		name, four, six string
		want            bool
	}{
		{"none", head4, "", false},
		{"a default route", head4 + "eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", "", true},
		{"a network only", head4 + "eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", "", false},
		{"half of all addresses", head4 + "tun0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n", "", false},
		{"one of IPv6", "", "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n", true},
		{"the kernel's reject", "", "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n", false},
	} {
		if got := hasRoute4(c.four) || hasRoute6(c.six); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestNetworkConnects(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	suite := Suite{Checks: Network(address), Timeout: time.Minute}
	if report, err := suite.Run(t.Context()); err != nil || !report.Healthy || len(report.Checks) != 1 {
		t.Errorf("with somebody who listens: %v\n%s", err, report.Text())
	}
	listener.Close()
	if report, err := suite.Run(t.Context()); err != nil || report.Healthy || !strings.Contains(report.Reason(), "cannot connect to "+address) {
		t.Errorf("with nobody who listens: %v\n%s", err, report.Text())
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	directory := t.TempDir() + "/health.d"
	findings := func(others int) (all []string) {
		for _, finding := range Findings(directory, others) {
			all = append(all, string(finding.Severity)+": "+finding.Problem)
		}
		return all
	}
	none := []string{string(sdk.SeverityWarning) + ": There is no health check of this machine's own: a trial that comes up is confirmed, whether it does its work or not."}
	if diff := cmp.Diff(none, findings(0)); diff != "" {
		t.Errorf("without a directory (-want +got):\n%s", diff)
	}
	if got := findings(1); got != nil {
		t.Errorf("with other checks: %v", got)
	}
	if err := os.Mkdir(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"10-well": 0o755, "20-forgotten": 0o644, "30-open": 0o757, "README.md": 0o666, "40-backup~": 0o777} {
		if err := os.WriteFile(directory+"/"+name, []byte("#!/bin/sh\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(directory+"/"+name, mode); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"blocking: Every trial would fail: " + directory + "/30-open can be written by others than its owner (mode 0757), so it is not run.",
		"warning: 20-forgotten is not executable, so it is not run.",
	}
	if diff := cmp.Diff(want, findings(0)); diff != "" {
		t.Errorf("with checks (-want +got):\n%s", diff)
	}
}
