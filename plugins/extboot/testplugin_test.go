package main

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// testPlugin is the plugin with a view of what it opened.
type testPlugin struct {
	*bootdir.Plugin
	volume bootdir.Volume
	loader bootdir.Loader
}

func newPlugin(version string) *testPlugin {
	p := &testPlugin{}
	ours := program(version)
	ours.Open = func(ctx context.Context, setup sdk.Setup) (bootdir.Volume, bootdir.Loader, error) {
		var err error
		p.volume, p.loader, err = open(ctx, setup)
		if x, ok := p.loader.(*xbootldrLoader); ok {
			x.variables = variables(standInVariables(p.volume.Path()))
		}
		return p.volume, p.loader, err
	}
	p.Plugin = bootdir.New(ours)
	return p
}

func openPlugin(t *testing.T, dir string) *testPlugin {
	t.Helper()
	p := newPlugin("test")
	settings := platform{loader: loaderGRUB}.settings(dir)
	switch {
	case exists(espBeside(dir)):
		settings = platform{loader: loaderXbootldr}.settings(dir)
	case exists(filepath.Join(dir, "loader")):
		settings = platform{loader: loaderSdboot}.settings(dir)
	}
	if err := p.Configure(t.Context(), sdk.Setup{Settings: settings, RunDirectory: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}
