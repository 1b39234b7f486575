package watchdog

import (
	"errors"
	"os"
	"testing"
	"time"
)

// TestWhatIsWritten looks at the bytes that a device gets: any but 'V' feeds it, and
// only 'V' lets it stop. (That a real one resets the machine is shown in the lab.)
func TestWhatIsWritten(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/watchdog7"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	device, err := Open(t.Context(), path, 1500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if device.Timeout != 2*time.Second || device.Lasting() || device.Path != path {
		t.Errorf("%+v", device)
	}
	if err := errors.Join(device.Feed(), device.Feed()); err != nil {
		t.Fatal(err)
	}
	if content, _ := os.ReadFile(path); string(content) != ".." {
		t.Errorf("fed with %q", content)
	}
	if err := device.Stop(); err != nil {
		t.Fatal(err)
	}
	if content, _ := os.ReadFile(path); string(content) != "..V" {
		t.Errorf("stopped with %q", content)
	}
}

func TestNoDevice(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.Context(), t.TempDir()+"/none", time.Minute); !errors.Is(err, ErrNone) {
		t.Errorf("error %v, want ErrNone", err)
	}
}
