package bootscript

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func run(t *testing.T, environment []string, name string, arguments ...string) string {
	t.Helper()
	command := exec.Command(name, arguments...)
	command.Env = append(os.Environ(), environment...)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("this test needs the Debian package u-boot-tools: %s %v: %v\n%s", name, arguments, err, output)
	}
	return string(output)
}

// mkimage makes the same image, to the byte.
func TestMkimage(t *testing.T) {
	const text = "echo one\nboot; # two\n"
	dir := t.TempDir()
	source, image := filepath.Join(dir, "boot.cmd"), filepath.Join(dir, "boot.scr")
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, processor := range map[string]Processor{"arm64": ARM64, "arm": ARM} {
		run(t, []string{"SOURCE_DATE_EPOCH=1700000000"}, "mkimage", "-A", name, "-O", "linux", "-T", "script", "-C", "none", "-n", "boot script", "-d", source, image)
		data, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		want := Script{"boot script", processor, 1700000000, text}
		got, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if ours, err := want.Bytes(); err != nil || !bytes.Equal(ours, data) {
			t.Errorf("%s: mkimage makes another image (%v)", name, err)
		}
	}
}

// dumpimage finds nothing wrong with ours.
func TestDumpimage(t *testing.T) {
	data, err := Script{Name: "ours", Processor: ARM64, Text: "true\n"}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "boot.scr")
	if err := os.WriteFile(image, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := run(t, nil, "dumpimage", "-l", image); !strings.Contains(got, "ours") || !strings.Contains(got, "AArch64 Linux Script") {
		t.Errorf("dumpimage says:\n%s", got)
	}
}

func TestDamage(t *testing.T) {
	data, err := Script{Name: "ours", Processor: ARM64, Text: "true\n"}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		flipped := bytes.Clone(data)
		flipped[i] ^= 1
		if _, err := Parse(flipped); !errors.Is(err, ErrMalformed) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
		if _, err := Parse(data[:i]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := Parse(append(bytes.Clone(data), 0xff)); err != nil {
		t.Errorf("with a byte behind it: %v", err)
	}
	for _, bad := range []Script{{Name: strings.Repeat("x", 33), Text: "x"}, {Name: "a\x00b", Text: "x"}, {Name: "a"}} {
		if _, err := bad.Bytes(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	data, err := Script{Name: "ours", Processor: ARM64, Text: "true\n"}.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		// Behind the checksums is more to find.
		if len(data) >= headerSize {
			data = seal(data)
		}
		script, err := Parse(data)
		if err != nil {
			return
		}
		again, err := script.Bytes()
		if err != nil {
			if script.Text == "" {
				return
			}
			t.Fatalf("%+v: %v", script, err)
		}
		back, err := Parse(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(script, back); diff != "" {
			t.Error(diff)
		}
	})
}

// seal makes the size and the checksums of an image fit.
func seal(data []byte) []byte {
	sealed := bytes.Clone(data)
	binary.BigEndian.PutUint32(sealed, magic)
	binary.BigEndian.PutUint32(sealed[offsetSize:], uint32(len(data)-headerSize))
	binary.BigEndian.PutUint32(sealed[offsetDataSum:], crc32.ChecksumIEEE(sealed[headerSize:]))
	clear(sealed[offsetHeaderSum:offsetTime])
	binary.BigEndian.PutUint32(sealed[offsetHeaderSum:], crc32.ChecksumIEEE(sealed[:headerSize]))
	return sealed
}
