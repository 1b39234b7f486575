package bootdir_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// What a Maker makes is installed under its name, beside the kernel set under the
// names of the Namer, and made again only when it has to be.
func TestMakerAndNamer(t *testing.T) {
	dir := newBootFilesystem(t)
	plugin, loader := open(t, dir)
	entry := newEntry(t, "a1")
	installed, err := plugin.Install(t.Context(), entry)
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, file := range installed.Files {
		targets = append(targets, string(file.Role)+" "+file.Target)
	}
	want := []string{"kernel tbupdate/a1/vmlinuz-6.1", "initrd tbupdate/a1/initrd-6.1", "device-tree tbupdate/a1/board/made.bin"}
	if diff := cmp.Diff(want, targets); diff != "" {
		t.Error(diff)
	}
	made := filepath.Join(dir, "tbupdate/a1/board/made.bin")
	const text = "made for 6.1 with root=UUID=2 rootflags=subvolid=260"
	wantText(t, made, text)
	if _, err := plugin.Install(t.Context(), entry); err != nil || *loader.made != 1 {
		t.Errorf("made %d times, %v", *loader.made, err)
	}
	if err := plugin.SetDefault(t.Context(), "a1"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(made, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := plugin.Install(t.Context(), entry); err != nil || *loader.made != 2 {
		t.Errorf("made %d times, %v", *loader.made, err)
	}
	wantText(t, made, text)
	// A tool that makes something else now cannot mend what boots.
	if err := os.Remove(made); err != nil {
		t.Fatal(err)
	}
	loader.make = func(order bootdir.Order) ([]bootdir.MadeFile, error) {
		files, err := makeOne(order)
		if err == nil {
			err = os.WriteFile(files[0].Path, []byte("other"), 0o600)
		}
		return files, err
	}
	if _, err := plugin.Install(t.Context(), entry); !errors.Is(err, sdk.ErrBusy) {
		t.Errorf("error %v, want busy", err)
	}
}

// A Maker that fails, or makes what it did not announce, leaves nothing behind.
func TestMakerFails(t *testing.T) {
	one := func(name, text string) func(bootdir.Order) ([]bootdir.MadeFile, error) {
		return func(order bootdir.Order) ([]bootdir.MadeFile, error) {
			path := filepath.Join(order.Scratch, "out")
			return []bootdir.MadeFile{{Name: name, Path: path}}, os.WriteFile(path, []byte(text), 0o600)
		}
	}
	tests := []struct {
		name string
		make func(bootdir.Order) ([]bootdir.MadeFile, error)
		want error
	}{
		{"error", func(bootdir.Order) ([]bootdir.MadeFile, error) { return nil, os.ErrPermission }, os.ErrPermission},
		{"too much", one("x", strings.Repeat("x", 2000)), sdk.ErrNoSpace},
		{"name of the record", one("record.json", "x"), &sdk.Error{Code: sdk.CodeInternal}},
		{"name of the kernel", one("vmlinuz-6.1", "x"), &sdk.Error{Code: sdk.CodeInternal}},
		{"name that leads out", one("../x", "x"), &sdk.Error{Code: sdk.CodeInternal}},
		{"no such file", func(order bootdir.Order) ([]bootdir.MadeFile, error) {
			return []bootdir.MadeFile{{Name: "x", Path: filepath.Join(order.Scratch, "gone")}}, nil
		}, sdk.ErrNotFound},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := newBootFilesystem(t)
			plugin, loader := open(t, dir)
			loader.make = test.make
			if _, err := plugin.Install(t.Context(), newEntry(t, "a1")); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "tbupdate")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something is left: %v", err)
			}
		})
	}
}

func wantText(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s: %q %v, want %q", path, got, err, want)
	}
}
