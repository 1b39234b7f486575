package crash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// TestSdbootReader compares what sdboot starts with what systemd-boot itself does, which firmware in QEMU starts from
// FAT with the same files.
func TestSdbootReader(t *testing.T) {
	const good, trial = "sort-key b\nversion 1\n", "sort-key a\nversion 1\n"
	for name, menu := range map[string]struct {
		config string
		files  map[string]string // of entries; each has a kernel of its own, unless its text has none
	}{
		"sort key before name":           {"", map[string]string{"z.conf": "", "b.conf": good, "c.conf": "sort-key c\n"}},
		"names":                          {"", map[string]string{"b1.conf": "", "b2.conf": "", "a.conf": ""}},
		"versions":                       {"", map[string]string{"b.conf": good, "a.conf": "sort-key b\nversion 2\n"}},
		"a trial with tries left":        {"default t*\n", map[string]string{"t1.conf": good, "t2+2.conf": trial, "a.conf": trial}},
		"a trial that was tried":         {"default t*\n", map[string]string{"t1.conf": good, "t2+1-1.conf": trial}},
		"a trial without tries left":     {"default t*\n", map[string]string{"t1.conf": good, "t2+0-2.conf": trial, "a.conf": trial}},
		"the default is not the first":   {"timeout 0\ndefault t*\n", map[string]string{"t1.conf": good, "a.conf": trial}},
		"the default is none":            {"default x*\n", map[string]string{"t1.conf": good, "a.conf": trial}},
		"the first one's kernel is gone": {"", map[string]string{"t1.conf": good, "a.conf": trial + "linux /none\n"}},
		"the first has no kernel":        {"", map[string]string{"t1.conf": good, "a.conf": "# linux\n" + trial}},
		"what is no entry":               {"", map[string]string{"t1.conf": good, "a.conf.new": trial, "b.txt": trial, "auto-a.conf": trial}},
		"the last default counts":        {"default a*\ndefault t*\n", map[string]string{"t1.conf": good, "a.conf": trial}},
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			files := map[string]string{sdbootConfig: menu.config, "EFI/BOOT/BOOTX64.EFI": string(readFile(t, sdbootProgram))}
			for i, file := range slices.Sorted(maps.Keys(menu.files)) {
				text := menu.files[file]
				if !strings.Contains(text, "linux") {
					text += fmt.Sprintf("linux /%d\n", i)
				}
				files[filepath.Join(sdbootEntries, file)] = text
				files[fmt.Sprint(i)] = string(exiting(byte(i)))
			}
			must(t, putFiles(directory, files))
			started, after := bySdboot(t, directory)
			m, err := readMenu(t.Context(), extOf(t, directory), extOf(t, directory))
			must(t, err)
			e, err := m.choose(t.Context(), "")
			must(t, err)
			if want := "/" + fmt.Sprint(started); e.fields["linux"] != want {
				t.Errorf("systemd-boot starts %q, and the reader %q by %q", want, e.fields["linux"], e.file)
			}
			var want []string
			for file := range menu.files {
				if file == e.file {
					file = e.countedDown()
				}
				want = append(want, file)
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, after); diff != "" {
				t.Errorf("files after the start, by the reader and by systemd-boot:\n%s", diff)
			}
		})
	}
}

const (
	sdbootProgram = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
	firmwareCode  = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	firmwareStore = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return content
}

// extOf gives an image of an ext filesystem with what is in a directory.
func extOf(t *testing.T, directory string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "ext.img")
	must(t, loopback.CreateImage(image, 8<<20))
	must(t, loopback.Format(t.Context(), image, loopback.Ext2, "-d", directory))
	return image
}

// bySdboot has systemd-boot start from what is in a directory, and gives what started, as exiting has it, and the
// names of entries' files after that.
func bySdboot(t *testing.T, directory string) (started int, files []string) {
	t.Helper()
	work := t.TempDir()
	image, store := filepath.Join(work, "esp.img"), filepath.Join(work, "variables")
	must(t, os.WriteFile(store, readFile(t, firmwareStore), 0o600))
	must(t, loopback.CreateImage(image, 40<<20))
	must(t, run(t.Context(), "mformat", "-i", image, "-F", "-T", "81920", "::"))
	names, err := filepath.Glob(filepath.Join(directory, "*"))
	must(t, err)
	must(t, run(t.Context(), "mcopy", append(append([]string{"-i", image, "-s"}, names...), "::")...))
	emulator := exec.CommandContext(t.Context(), "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-m", "128", "-nodefaults", "-display", "none", "-no-reboot",
		"-drive", "if=pflash,format=raw,readonly=on,file="+firmwareCode, "-drive", "if=pflash,format=raw,file="+store,
		"-drive", "if=none,id=disk,format=raw,file="+image, "-device", "ide-hd,drive=disk", "-device", fmt.Sprintf("isa-debug-exit,iobase=%#x,iosize=1", exitPort))
	output, err := emulator.CombinedOutput()
	exit := (*exec.ExitError)(nil)
	if !errors.As(err, &exit) || exit.ExitCode()%2 == 0 {
		t.Fatalf("systemd-boot starts nothing: %v %q", err, output)
	}
	must(t, run(t.Context(), "mcopy", "-i", image, "-s", "::"+sdbootEntries, work))
	entries, err := os.ReadDir(filepath.Join(work, filepath.Base(sdbootEntries)))
	must(t, err)
	for _, entry := range entries {
		files = append(files, entry.Name())
	}
	return exit.ExitCode() / 2, files
}

// exitPort is where QEMU's device isa-debug-exit is told a number n, and QEMU ends with 2n+1.
const exitPort = 0xf4

// exiting gives a program for UEFI firmware that ends QEMU with a number: an image of the format PE32+ (Microsoft,
// "PE Format") with one section.
func exiting(number byte) []byte {
	const header, optional, table, size, address = 0x40, 0x58, 0x148, 0x200, 0x1000
	image := make([]byte, 2*size)
	copy(image, "MZ")
	copy(image[header:], "PE\x00\x00")
	copy(image[table:], ".text")
	put := func(at int, value uint32) { binary.LittleEndian.PutUint32(image[at:], value) }
	put(0x3c, header)
	put(header+4, 1<<16|0x8664)               // one section, for x86-64
	put(header+20, 0x22<<16|(table-optional)) // an executable; the size of the optional header
	put(optional, 0x20b)                      // PE32+
	put(optional+4, size)                     // of the code
	put(optional+16, address)                 // where it begins to run
	put(optional+20, address)                 // where the code is
	put(optional+32, address)                 // alignment in memory
	put(optional+36, size)                    // and in the file
	put(optional+56, 2*address)               // size in memory
	put(optional+60, size)                    // of the headers
	put(optional+68, 10)                      // a program for firmware
	put(optional+108, 16)                     // directories, all empty
	put(table+8, size)
	put(table+12, address)
	put(table+16, size)
	put(table+20, size)
	put(table+36, 0x60000020) // code, to be run and read
	copy(image[size:], []byte{
		0xb0, number, // mov al, number
		0xe6, exitPort, // out exitPort, al
		0xeb, 0xfe, // jmp .
	})
	return image
}
