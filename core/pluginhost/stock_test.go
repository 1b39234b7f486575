package pluginhost_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/core/pluginhost"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// TestStockPlugins: a plugin that go-plugin's own Serve serves works as well.
func TestStockPlugins(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"good-stock", "good-plain", "good-adaptors"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := spec(t, sdk.KindFS, name)
			s.Grease = func() string { return "grease.1" }
			p := configured(t, s, map[string]string{"level": "40000"})
			if err := p.FS().Prepare(t.Context()); err != nil {
				t.Error(err)
			}
			if list, err := p.FS().List(t.Context()); err != nil || len(list) != 40000 {
				t.Errorf("List gave %d subvolumes, %v", len(list), err)
			}
			if _, err := p.FS().Lookup(t.Context(), "nothing"); !errors.Is(err, sdk.ErrNotFound) {
				t.Errorf("Lookup gave %v", err)
			}
			changes := 0
			if err := p.FS().Changes(t.Context(), "1", "2", func(sdk.Change) error { changes++; return nil }); err != nil || changes != 1 {
				t.Errorf("Changes gave %d, %v", changes, err)
			}
			// It has ended by itself, not by the limit.
			if err := p.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{"configure", "prepare", "close"}, record(t, s.RunDirectory)); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// TestStockOrder: package serve keeps the life cycle under go-plugin's Serve too.
func TestStockOrder(t *testing.T) {
	t.Parallel()
	p := start(t, spec(t, sdk.KindFS, "panics-stock"))
	if err := p.FS().Flush(t.Context()); !errors.Is(err, sdk.ErrInvalid) {
		t.Errorf("Flush before Configure gave %v", err)
	}
	if err := p.Configure(t.Context(), sdk.Setup{}); err != nil {
		t.Error(err)
	}
	want := "cannot run FS.Prepare: the plugin panicked: index out of cheese"
	if err := p.FS().Prepare(t.Context()); err == nil || err.Error() != want {
		t.Errorf("Prepare gave %v", err)
	}
	if err := p.FS().Changes(t.Context(), "1", "2", func(sdk.Change) error { return nil }); err == nil {
		t.Error("a panic in a stream is no error")
	}
}

// TestStockLog: what such a plugin prints arrives in the log.
func TestStockLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := spec(t, sdk.KindFS, "slow-stock")
	s.Log = &log
	p := configured(t, s, nil)
	if err := p.FS().Prepare(t.Context()); err != nil {
		t.Error(err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "working\nworking\n") {
		t.Errorf("log:\n%s", log.String())
	}
}

// TestStockFaults lists what a user sees of such a plugin that does not suit.
func TestStockFaults(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"good-newer": `plugin fs-good-newer (PROGRAM) speaks version 2 of the plugin contract; this host speaks 1`,
		"good-tls":   `plugin fs-good-tls (PROGRAM) runs, but cannot be talked to (does it serve with TLS? It must not)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := spec(t, sdk.KindFS, name)
			s.Limits.Start, s.Limits.Stop = time.Minute, 100*time.Millisecond
			p, err := pluginhost.Start(t.Context(), s)
			if err == nil {
				_ = p.Stop(context.Background())
			}
			var fault *pluginhost.Error
			if !errors.As(err, &fault) {
				t.Fatalf("got error %v (%T), want a *pluginhost.Error", err, err)
			}
			got, _, _ := strings.Cut(message(err, fault.Path), "; it wrote")
			got, _, _ = strings.Cut(got, ": rpc error") // in gRPC's words, which vary
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}
