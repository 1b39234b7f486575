package kernelset

import (
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompareVersions(t *testing.T) {
	ascending := []string{"", "5.10.0-9-amd64", "5.10.0-10-amd64", "6.1.0-rc3", "6.1.0-rc10", "6.1.0", "6.1.0-9-amd64", "6.1.0-18-amd64", "6.1.0-18-cloud-amd64", "6.1.9", "6.1.10", "6.12.1~rc1", "6.12.1"}
	for i, a := range ascending {
		for j, b := range ascending {
			if got := CompareVersions(a, b); got != sign(i-j) {
				t.Errorf("%q against %q: %d", a, b, got)
			}
		}
	}
}

func bzImage(version string) string {
	image := make([]byte, 0x400)
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(image[0x20e:], 0x100)
	copy(image[0x300:], version+" (debian) #1\x00")
	return string(image)
}

// A value that begins with "->" is a symbolic link.
func makeTree(t *testing.T, files map[string]string) *Root {
	t.Helper()
	dir := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(files[name], "->"); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(files[name]), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestFind(t *testing.T) {
	tests := []struct {
		name    string
		files   map[string]string
		version string
		sources []string
		err     string
	}{
		{"debian", map[string]string{
			"boot/vmlinuz-6.1.0-9": "k", "boot/initrd.img-6.1.0-9": "i", "boot/System.map-6.1.0-9": "s", "boot/config-6.1.0-9": "c",
			"usr/lib/modules/6.1.0-9/modules.dep": "", "lib": "->usr/lib",
		}, "6.1.0-9", []string{"boot/vmlinuz-6.1.0-9", "boot/initrd.img-6.1.0-9", "boot/System.map-6.1.0-9", "boot/config-6.1.0-9"}, ""},
		{"highest", map[string]string{"boot/vmlinuz-6.1.0-9": "k", "boot/vmlinuz-6.1.0-18": "k", "boot/initrd.img-6.1.0-9": "i"},
			"6.1.0-18", []string{"boot/vmlinuz-6.1.0-18"}, ""},
		{"link decides", map[string]string{"boot/vmlinuz-6.1.0-9": "k", "boot/vmlinuz-6.1.0-18": "k", "vmlinuz": "->boot/vmlinuz-6.1.0-9"},
			"6.1.0-9", []string{"boot/vmlinuz-6.1.0-9"}, ""},
		{"absolute link", map[string]string{"boot/vmlinuz-1": "k", "boot/vmlinuz-2": "k", "boot/vmlinuz": "->/boot/vmlinuz-1"},
			"1", []string{"boot/vmlinuz-1"}, ""},
		{"in modules", map[string]string{"usr/lib/modules/6.5/vmlinuz": "k", "usr/lib/modules/6.5/initrd": "i", "usr/lib/modules/6.5/modules.dep": ""},
			"6.5", []string{"usr/lib/modules/6.5/vmlinuz", "usr/lib/modules/6.5/initrd"}, ""},
		{"image knows its version", map[string]string{"boot/vmlinuz": bzImage("6.7"), "usr/lib/modules/6.7/modules.dep": ""},
			"6.7", []string{"boot/vmlinuz"}, ""},
		{"device trees", map[string]string{"boot/vmlinuz-6": "k", "usr/lib/linux-image-6/arm/b.dtb": "d", "usr/lib/linux-image-6/a.dtb": "d", "usr/lib/linux-image-6/x": "", "usr/lib/linux-image-6/loop": "->."},
			"6", []string{"boot/vmlinuz-6", "usr/lib/linux-image-6/a.dtb", "usr/lib/linux-image-6/arm/b.dtb"}, ""},
		{"other modules", map[string]string{"boot/vmlinuz-6": "k", "usr/lib/modules/5/modules.dep": ""}, "", nil, "modules for 5 only"},
		{"none", map[string]string{"etc/passwd": "x"}, "", nil, "boot/vmlinuz*"},
		{"empty file", map[string]string{"boot/vmlinuz-6": ""}, "", nil, "boot/vmlinuz*"},
		{"link out of the tree", map[string]string{"boot": "->/../../../../../../../../../../../usr"}, "", nil, "no kernel"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set, err := Find(makeTree(t, test.files), DefaultKernels())
			if test.err != "" {
				if !errors.Is(err, ErrNoKernel) || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want ErrNoKernel with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var sources []string
			for _, file := range set.Files {
				sources = append(sources, file.Source)
			}
			if diff := cmp.Diff(test.sources, sources); diff != "" || set.Version != test.version {
				t.Errorf("version %q\n%s", set.Version, diff)
			}
		})
	}
}
