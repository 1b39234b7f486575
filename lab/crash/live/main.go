// Command tbupdate-boot-live is extboot on a machine that is only played: its plugin takes the disk for that of
// the machine on which it runs, and so uses that machine's EFI variables.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/launch"
	"github.com/trebuchet-update/tbupdate/sdk/serve"
)

func main() {
	boot, err := start(filepath.Join(filepath.Dir(os.Args[0]), "tbupdate-boot-extboot"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "live:", err)
		os.Exit(1)
	}
	serve.Boot(boot)
}

// live hands everything on to the plugin.
type live struct{ sdk.Boot }

// start starts the plugin, which the end of this one ends.
func start(path string) (live, error) {
	program, err := os.Open(path)
	if err != nil {
		return live{}, err
	}
	defer program.Close()
	// The directory that this plugin was given goes with it.
	process, err := launch.Start(context.Background(), launch.Config{Program: program, Path: path, RunDirectory: os.TempDir(), Log: os.Stderr})
	if err != nil {
		return live{}, err
	}
	return live{process.Boot()}, nil
}

// Describe implements sdk.Plugin: a plugin is called what its program is.
func (l live) Describe(ctx context.Context) (sdk.Description, error) {
	d, err := l.Boot.Describe(ctx)
	d.Name = "live"
	return d, err
}

// Configure implements sdk.Plugin.
func (l live) Configure(ctx context.Context, setup sdk.Setup) error {
	setup.Live = true
	return l.Boot.Configure(ctx, setup)
}
