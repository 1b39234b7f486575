package pluginhost_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/pluginhost"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// TestHostKilled: when the host is killed in the middle of a change, the change
// is finished, Close is called, and the plugin is gone.
func TestHostKilled(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		plugin string
		signal syscall.Signal
	}{{"slow", syscall.SIGKILL}, {"slow", syscall.SIGTERM}, {"slow-stock", syscall.SIGKILL}} {
		t.Run(test.plugin+" "+test.signal.String(), func(t *testing.T) {
			t.Parallel()
			run := runDirectory(t)
			directory, _ := install(t, sdk.KindFS, test.plugin)
			host := exec.Command(os.Args[0])
			host.Env = append(os.Environ(), doomedDirectory+"="+directory, "RUN="+run, "PLUGIN="+test.plugin)
			output, err := host.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := host.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = host.Wait() }() // killed, always an error
			var pid int
			if _, err := fmt.Fscan(output, &pid); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the change is under way", func() bool { return slices.Contains(record(t, run), "begin") })
			if err := host.Process.Signal(test.signal); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the plugin is gone", func() bool { return !alive(pid) })
			if diff := cmp.Diff([]string{"configure", "prepare", "begin", "end", "close"}, record(t, run)); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// doomedHost starts the slow plugin, says its pid, and has it change something
// until it is killed.
func doomedHost(directory string) {
	s := pluginhost.Spec{Kind: sdk.KindFS, Name: os.Getenv("PLUGIN"), Directories: []string{directory}, RunDirectory: os.Getenv("RUN"), Log: os.Stderr}
	p, err := pluginhost.Start(context.Background(), s)
	if err == nil {
		err = p.Configure(context.Background(), sdk.Setup{RunDirectory: s.RunDirectory})
	}
	if err == nil {
		fmt.Println(p.PID())
		err = p.FS().Prepare(context.Background())
	}
	fmt.Fprintln(os.Stderr, "the host was not killed in time:", err)
	os.Exit(1)
}
