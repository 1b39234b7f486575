package blockdevice_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk/blockdevice"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) { loopback.Main(m) }

func TestParse(t *testing.T) {
	for text, want := range map[string]blockdevice.Specification{
		"/dev/sda1":     {Tag: blockdevice.Path, Value: "/dev/sda1"},
		"/dev/a=b":      {Tag: blockdevice.Path, Value: "/dev/a=b"},
		"UUID=1-2":      {Tag: blockdevice.UUID, Value: "1-2"},
		`LABEL="a b"`:   {Tag: blockdevice.Label, Value: "a b"},
		"LABEL=a=b":     {Tag: blockdevice.Label, Value: "a=b"},
		"PARTUUID=1-02": {Tag: blockdevice.PartUUID, Value: "1-02"},
	} {
		if got, err := blockdevice.Parse(text); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "sda1", "UUID", "UUID=", `LABEL=""`, "PARTLABEL=a", "uuid=1", "=1"} {
		if got, err := blockdevice.Parse(text); err == nil {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		specification, uuid, label string
		want                       bool
	}{
		{"UUID=AB-12", "ab-12", "", true},
		{"UUID=AB-12", "ab-13", "AB-12", false},
		{"LABEL=Boot", "", "Boot", true},
		{"LABEL=Boot", "Boot", "boot", false},
		{"PARTUUID=1", "1", "1", false},
		{"/boot", "/boot", "/boot", false},
	} {
		s, err := blockdevice.Parse(test.specification)
		if err != nil || s.Names(test.uuid, test.label) != test.want {
			t.Errorf("%s with %q and %q: %v, want %t", test.specification, test.uuid, test.label, err, test.want)
		}
	}
}

// TestDevices: a device is found among all by what it holds, and by its number.
func TestDevices(t *testing.T) {
	device := loopback.New(t, loopback.Options{Size: 1 << 20})
	mark := []byte("the mark of TestDevices")
	file, err := os.OpenFile(device.Path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(mark, 4096); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		t.Fatal(err)
	}
	probe := func(f *os.File) (string, error) {
		data := make([]byte, len(mark))
		_, err := f.ReadAt(data, 4096)
		return string(data), err
	}
	var found []string
	if err := blockdevice.Each(probe, func(path, content string) error {
		if content == string(mark) {
			found = append(found, path)
		}
		return nil
	}); err != nil || len(found) != 1 || found[0] != device.Path {
		t.Errorf("found %v, %v; want %s", found, err, device.Path)
	}
	var stat unix.Stat_t
	if err := unix.Stat(device.Path, &stat); err != nil {
		t.Fatal(err)
	}
	if path, err := blockdevice.ByNumber(uint64(stat.Rdev)); err != nil || path != device.Path {
		t.Errorf("by number: %s, %v", path, err)
	}
	if is, err := blockdevice.IsBlock(device.Path); err != nil || !is {
		t.Errorf("%s is a block device: %t, %v", device.Path, is, err)
	}
	for _, path := range []string{"/dev/null", "/dev", "/etc/passwd"} {
		if is, err := blockdevice.IsBlock(path); err != nil || is {
			t.Errorf("%s is a block device: %t, %v", path, is, err)
		}
	}
}

func TestNotThere(t *testing.T) {
	for _, uuid := range []string{"00000000-0000-0000-0000-000000000000", "../by-uuid", ""} {
		if path, err := blockdevice.ByPartition(uuid); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("partition %q: %s, %v", uuid, path, err)
		}
	}
	if path, err := blockdevice.ByNumber(unix.Mkdev(4000, 4000)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("by number: %s, %v", path, err)
	}
}
