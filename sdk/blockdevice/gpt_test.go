package blockdevice

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

const (
	testESP   = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	testBoot  = "bc13c2ff-59e6-4262-a352-b275fd6f7172"
	testTable = "label: gpt\nstart=2048, size=2048, type=" + testESP + "\nstart=4096, size=2048, type=" + testBoot + "\nstart=6144, size=2048, type=" + testBoot + "\n"
)

// newGPT gives an image with the partitions of testTable, from 1 MiB to 4 MiB.
func newGPT(t testing.TB) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk.img")
	if err := loopback.CreateImage(image, 5<<20); err != nil {
		t.Fatal(err)
	}
	sfdisk := exec.Command("/usr/sbin/sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", image)
	sfdisk.Stdin = strings.NewReader(testTable)
	if output, err := sfdisk.CombinedOutput(); err != nil {
		t.Fatalf("this test needs sfdisk (apt-get install fdisk): %v\n%s", err, output)
	}
	return image
}

func numberOf(t *testing.T, path string) uint64 {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return uint64(stat.Rdev)
}

// TestFirstOfType: of two partitions of a type the first one counts, seen from any.
func TestFirstOfType(t *testing.T) {
	disk := loopback.Open(t, newGPT(t), "")
	var parts []uint64
	for i := range 3 {
		path, err := disk.AddPartition(i+1, int64(i+1)<<20, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, numberOf(t, path))
	}
	for _, from := range parts {
		for partitionType, want := range map[string]uint64{testESP: parts[0], strings.ToUpper(testBoot): parts[1]} {
			if got, err := FirstOfType(from, partitionType); err != nil || got != want {
				t.Errorf("%s: device %#x %v, want %#x", partitionType, got, err, want)
			}
		}
	}
	if got, err := FirstOfType(parts[0], "0fc63daf-8483-4772-8e79-3d69d8477de4"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a type that is not there: %#x %v", got, err)
	}
	if got, err := FirstOfType(numberOf(t, disk.Path), testBoot); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of the disk itself: %#x %v", got, err)
	}
}

// TestTornTable: a table that is not whole says nothing.
func TestTornTable(t *testing.T) {
	whole, err := os.ReadFile(newGPT(t))
	if err != nil {
		t.Fatal(err)
	}
	if types, err := partitionTypes(bytes.NewReader(whole), 512); err != nil || len(types) != 128 || types[0] != testESP || types[2] != testBoot {
		t.Fatalf("%v %v", types, err)
	}
	for _, at := range []int{512, 512 + 60, 512 + 80, 1024, 1024 + 130} {
		torn := bytes.Clone(whole)
		torn[at] ^= 1
		if types, err := partitionTypes(bytes.NewReader(torn), 512); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("byte %d changed: %v %v", at, types, err)
		}
	}
	if types, err := partitionTypes(bytes.NewReader(whole[:2000]), 512); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("cut: %v %v", types, err)
	}
}

func FuzzPartitionTypes(f *testing.F) {
	whole, err := os.ReadFile(newGPT(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole[:34*512])
	f.Fuzz(func(t *testing.T, disk []byte) {
		types, err := partitionTypes(bytes.NewReader(disk), 512)
		if err == nil && len(types)*gptEntrySize > len(disk) {
			t.Errorf("%d types in %d bytes", len(types), len(disk))
		}
	})
}
