package fatfs

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) { loopback.Main(m) }

var _ bootdir.Volume = (*Volume)(nil)

// Not every kernel that runs the tests has FAT; the lab's machines do. What is tested
// here does not depend on it.
func TestVolume(t *testing.T) {
	dir := loopback.New(t, loopback.Options{Filesystem: loopback.Ext4}).Mount(t)
	v, err := OpenMount(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, text := range []string{"one", "two, longer", ""} {
		if err := v.Replace(v.Path("file"), []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(v.Path("file")); err != nil || string(got) != text {
			t.Errorf("%q %v, want %q", got, err, text)
		}
		if _, err := os.Stat(v.Path("file.new")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("file.new is left: %v", err)
		}
	}
	space, err := v.Space()
	if err != nil || space.FreeBytes == 0 || space.FreeBytes > space.TotalBytes || space.FreeInodes < 1<<40 {
		t.Errorf("space %+v %v", space, err)
	}
	findings, err := v.Check()
	if err != nil || len(findings) != 1 || findings[0].Severity != sdk.SeverityBlocking || !strings.Contains(findings[0].Problem, "ext4") {
		t.Errorf("findings %+v %v", findings, err)
	}
}

func TestOpenMountWantsAMount(t *testing.T) {
	if _, err := OpenMount(t.TempDir()); !errors.Is(err, ErrNotMounted) {
		t.Errorf("error %v, want %v", err, ErrNotMounted)
	}
}
