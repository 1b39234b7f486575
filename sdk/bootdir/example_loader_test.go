package bootdir_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/conformance"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) { loopback.Main(m) }

// exampleLoader is the smallest loader that can do everything: an imaginary one that
// reads one sector, and counts in it. It wants kernels under names of its own, and a
// file made for each entry.
type exampleLoader struct {
	volume bootdir.Volume
	make   func(bootdir.Order) ([]bootdir.MadeFile, error)
	made   *int // how often make was called
}

// sector is what the imaginary loader reads, in stateFile.
type sector struct {
	Default string   `json:"default"`
	Trial   string   `json:"trial"`
	Tries   int      `json:"tries"`
	Entries []string `json:"entries"`
}

const (
	stateFile  = "example.json"
	sectorSize = 512
)

func (e *exampleLoader) load() (sector, error) {
	var s sector
	data, err := os.ReadFile(e.volume.Path(stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return sector{}, nil
	}
	if err != nil {
		return sector{}, err
	}
	return s, json.Unmarshal([]byte(strings.TrimSpace(string(data))), &s)
}

// save overwrites the sector in place: the one write that switches.
func (e *exampleLoader) save(s sector) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	data := fmt.Appendf(text, "%*s", sectorSize-len(text), "")
	path := e.volume.Path(stateFile)
	old, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return e.volume.Replace(path, data)
	}
	if err != nil || string(old) == string(data) {
		return err
	}
	return durable.Overwrite(path, 0, data)
}

// change reads, changes and saves.
func (e *exampleLoader) change(how func(*sector)) error {
	s, err := e.load()
	if err != nil {
		return err
	}
	how(&s)
	return e.save(s)
}

func (e *exampleLoader) Name() string  { return "example" }
func (e *exampleLoader) MaxTries() int { return 9 }

func (e *exampleLoader) Scripts(r bootdir.Record) (map[string]string, error) {
	return map[string]string{"arguments": strings.Join(r.Arguments, "\n"), "trial": strings.Join(r.TrialArguments, "\n")}, nil
}

func (e *exampleLoader) Read(context.Context) (bootdir.Choice, error) {
	s, err := e.load()
	if err != nil {
		return bootdir.Choice{}, err
	}
	now := bootdir.Choice{Default: s.Default, Trial: s.Trial, TriesLeft: s.Tries, Listed: s.Entries}
	for _, id := range []string{s.Default, s.Trial} {
		if id != "" {
			now.Held = append(now.Held, id)
		}
	}
	return now, nil
}

func (e *exampleLoader) Publish(_ context.Context, r bootdir.Record) error {
	return e.change(func(s *sector) {
		if !slices.Contains(s.Entries, r.ID) {
			s.Entries = append(s.Entries, r.ID)
		}
	})
}

func (e *exampleLoader) Withdraw(_ context.Context, id string) error {
	if s, err := e.load(); err != nil || !slices.Contains(s.Entries, id) {
		return err
	}
	return e.change(func(s *sector) {
		s.Entries = slices.DeleteFunc(s.Entries, func(entry string) bool { return entry == id })
	})
}

func (e *exampleLoader) Arm(_ context.Context, id string, tries int) error {
	return e.change(func(s *sector) { s.Trial, s.Tries = id, tries })
}

func (e *exampleLoader) Disarm(context.Context) error {
	if s, err := e.load(); err != nil || s.Trial == "" {
		return err
	}
	return e.change(func(s *sector) { s.Trial, s.Tries = "", 0 })
}

func (e *exampleLoader) SetDefault(_ context.Context, id string) error {
	return e.change(func(s *sector) {
		if s.Default = id; s.Trial == id {
			s.Trial, s.Tries = "", 0
		}
	})
}

func (e *exampleLoader) Problem(context.Context, bootdir.Record) string { return "" }
func (e *exampleLoader) Check(context.Context) ([]sdk.Finding, error)   { return nil, nil }
func (e *exampleLoader) WorkingRoom() uint64                            { return 8192 }
func (e *exampleLoader) FileName(version string, file kernelset.File) string {
	return file.Name + "-" + version
}
func (e *exampleLoader) MadeRoom(kernelset.Set) (files int, bytes uint64) { return 2, 1000 }
func (e *exampleLoader) MadeFrom(context.Context, bootdir.Order) (string, error) {
	return "tool 1", nil
}
func (e *exampleLoader) Make(_ context.Context, order bootdir.Order) ([]bootdir.MadeFile, error) {
	*e.made++
	return e.make(order)
}

// start is the loader itself.
func (e *exampleLoader) start(t testing.TB) (id string, trial bool) {
	t.Helper()
	s, err := e.load()
	if err != nil {
		t.Fatal(err)
	}
	if s.Trial == "" {
		return s.Default, false
	}
	id, left := s.Trial, s.Tries-1
	if err := e.change(func(s *sector) {
		if s.Tries = left; left == 0 {
			s.Trial = ""
		}
	}); err != nil {
		t.Fatal(err)
	}
	return id, true
}

// makeOne writes one file in the scratch directory.
func makeOne(order bootdir.Order) ([]bootdir.MadeFile, error) {
	path := filepath.Join(order.Scratch, "out")
	text := "made for " + order.Plan.Version + " with " + strings.Join(order.Plan.Arguments, " ")
	return []bootdir.MadeFile{{Role: sdk.RoleDeviceTree, Source: "tool", Name: "board/made.bin", Path: path}}, os.WriteFile(path, []byte(text), 0o600)
}

func newExample(dir string) (*bootdir.Plugin, *exampleLoader) {
	loader := &exampleLoader{make: makeOne, made: new(int)}
	return bootdir.New(bootdir.Program{
		Name: "example", Version: "1", Summary: "An example", Keys: bootdir.Keys(), MaxTries: 9,
		Open: func(_ context.Context, setup sdk.Setup) (bootdir.Volume, bootdir.Loader, error) {
			volume, err := bootdir.OpenExt(setup)
			if err != nil {
				return nil, nil, err
			}
			loader.volume = volume
			return volume, loader, nil
		},
	}), loader
}

func newBootFilesystem(t *testing.T) string {
	t.Helper()
	return loopback.New(t, loopback.Options{Filesystem: loopback.Ext4, MkfsArguments: []string{"-O", "^64bit,^metadata_csum_seed,^orphan_file"}}).Mount(t)
}

func TestConformance(t *testing.T) {
	conformance.Boot(t, func(t *testing.T) conformance.BootTarget {
		dir := newBootFilesystem(t)
		var loader *exampleLoader
		return conformance.BootTarget{
			New: func(testing.TB) sdk.Boot {
				plugin, l := newExample(dir)
				loader = l
				return plugin
			},
			Settings: map[string]string{"mount": dir}, Directory: dir,
			Start: func(t testing.TB) (string, bool) { return loader.start(t) },
		}
	})
}

// open gives a configured plugin.
func open(t *testing.T, dir string) (*bootdir.Plugin, *exampleLoader) {
	t.Helper()
	plugin, loader := newExample(dir)
	if err := plugin.Configure(t.Context(), sdk.Setup{Settings: map[string]string{"mount": dir}, RunDirectory: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plugin.Close(); err != nil {
			t.Error(err)
		}
	})
	return plugin, loader
}

func newEntry(t *testing.T, id string) sdk.Entry {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(path.Join(root, "boot"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"boot/vmlinuz-6.1", "boot/initrd.img-6.1"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(strings.Repeat(name, 100)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return sdk.Entry{ID: id, Title: id, Root: root, Arguments: []string{"root=UUID=2", "rootflags=subvolid=260"}}
}
