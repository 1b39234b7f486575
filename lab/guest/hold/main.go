// A boot plugin that stands in front of the real one and stops for ever before or after
// a call that it was told, so that the lab can cut the power at exactly this instant.
// All else it hands on.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/launch"
	"github.com/trebuchet-update/tbupdate/sdk/serve"
)

func main() {
	// The updater calls a plugin by its path.
	p, err := start(filepath.Join(protocol.RealPlugins, filepath.Base(os.Args[0])))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	serve.Boot(holder{Boot: p.Boot()})
}

// runDirectory is where the real plugin gets its socket.
const runDirectory = "/run/lab-hold"

func start(path string) (*launch.Process, error) {
	program, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer program.Close()
	if err := os.MkdirAll(runDirectory, 0o700); err != nil {
		return nil, err
	}
	return launch.Start(context.Background(), launch.Config{Program: program, Path: path, RunDirectory: runDirectory, Log: os.Stderr})
}

// holder is the real plugin, but for the calls that switch.
type holder struct{ sdk.Boot }

// Install implements sdk.Boot.
func (h holder) Install(ctx context.Context, entry sdk.Entry) (set sdk.KernelSet, err error) {
	around("install", func() { set, err = h.Boot.Install(ctx, entry) })
	return set, err
}

// Arm implements sdk.Boot.
func (h holder) Arm(ctx context.Context, id string, tries int) (err error) {
	around("arm", func() { err = h.Boot.Arm(ctx, id, tries) })
	return err
}

// SetDefault implements sdk.Boot.
func (h holder) SetDefault(ctx context.Context, id string) (err error) {
	around("set-default", func() { err = h.Boot.SetDefault(ctx, id) })
	return err
}

// around calls, and holds where the order says so.
func around(name string, call func()) {
	hold(name + " before")
	call()
	hold(name + " after")
}

func hold(point string) {
	if order() != point {
		return
	}
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err == nil {
		fmt.Fprintf(console, "\n%s %s\n", protocol.Held, point)
	}
	select {} // the power goes now
}

// order is what was ordered for this boot, or by the release for its trial. Neither is
// in force after the power cut, and nothing has to be written to the disk for that.
func order() string {
	if text, err := os.ReadFile(protocol.HoldOrder); err == nil {
		return strings.TrimSpace(string(text))
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil || !strings.Contains(string(line), "tbupdate.trial=1") {
		return ""
	}
	text, err := os.ReadFile(protocol.HoldTrial)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
