package process_test

import (
	"errors"
	"io/fs"
	"os/exec"
	"syscall"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk/process"
)

func TestOwn(t *testing.T) {
	own, err := process.Own()
	if err != nil || !own.Exists() {
		t.Fatalf("this process is %q: %v", own, err)
	}
	for _, other := range []process.Mark{own + "1", "", "self-1", "-", "0-0"} {
		if works, err := other.Works(); other.Exists() || works || err != nil {
			t.Errorf("%q counts as a process: %v, %v", other, works, err)
		}
	}
}

// A process is at work as long as anything of its session is.
func TestWorks(t *testing.T) {
	leader := exec.Command("sh", "-c", "sleep 1000 & echo $!; read line")
	leader.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	input, err := leader.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := leader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(-leader.Process.Pid, syscall.SIGKILL) }()
	if _, err := output.Read(make([]byte, 16)); err != nil { // it has started the other
		t.Fatal(err)
	}
	mark, err := process.Of(leader.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, exists, works bool) {
		t.Helper()
		got, err := mark.Works()
		if err != nil || got != works || mark.Exists() != exists {
			t.Errorf("%s, it exists: %v, and works: %v, %v", when, mark.Exists(), got, err)
		}
	}
	check("while it runs", true, true)
	if err := input.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := leader.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	check("when what it started goes on", false, true)
	if _, err := process.Of(leader.Process.Pid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the mark of a process that is gone: %v", err)
	}
	if err := syscall.Kill(-leader.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for { // until init has taken note of it, it may be a zombie
		if works, err := mark.Works(); err != nil || !works {
			break
		}
	}
	check("when all is over", false, false)
}
