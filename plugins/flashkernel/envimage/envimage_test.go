package envimage

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

func environment(pairs ...string) Environment {
	var e Environment
	for i := 0; i < len(pairs); i += 2 {
		e.Set(pairs[i], pairs[i+1])
	}
	return e
}

func mustBytes(t *testing.T, e Environment, size int, layout Layout) []byte {
	t.Helper()
	data, err := e.Bytes(size, layout)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRoundTrip(t *testing.T) {
	e := environment("a", "1", "text", `with \ and = and # and $x;{y} "quoted"`, "gone", "x", "b", "\n\ttwo lines\n")
	e.Set("gone", "")
	e.Set("a", "2")
	want := []Variable{{"a", "2"}, {"text", `with \ and = and # and $x;{y} "quoted"`}, {"b", "\n\ttwo lines\n"}}
	for _, layout := range []Layout{{}, {Flags: true}} {
		got, err := Parse(mustBytes(t, e, 512, layout), layout)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Variables()); diff != "" {
			t.Error(diff)
		}
		if _, err := Parse(mustBytes(t, e, 512, layout), Layout{Flags: !layout.Flags}); !errors.Is(err, ErrMalformed) {
			t.Errorf("read with the other layout: %v", err)
		}
	}
}

// A copy shares nothing with what it was copied from.
func TestSetOfACopy(t *testing.T) {
	first := environment("a", "1", "b", "2")
	second := first
	second.Set("a", "3")
	second.Set("b", "")
	second.Set("c", "4")
	third := first
	third.Set("d", "5")
	if diff := cmp.Diff([]Variable{{"a", "1"}, {"b", "2"}}, first.Variables()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Variable{{"a", "3"}, {"c", "4"}}, second.Variables()); diff != "" {
		t.Error(diff)
	}
}

func TestRefused(t *testing.T) {
	for name, e := range map[string]Environment{
		"no name": environment("", "x"), "equals": environment("a=b", "x"), "comment": environment("#a", "x"),
		"blank": environment(" a", "x"), "NUL": environment("a", "x\x00y"),
	} {
		if _, err := e.Bytes(512, Layout{}); !errors.Is(err, ErrValue) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	full := environment("a", strings.Repeat("x", 512-4-len("a=\x00\x00")))
	mustBytes(t, full, 512, Layout{})
	full.Set("a", full.Get("a")+"x")
	if _, err := full.Bytes(512, Layout{}); !errors.Is(err, ErrFull) {
		t.Errorf("one byte too many: %v", err)
	}
}

// Every torn or damaged image is seen.
func TestDamage(t *testing.T) {
	older := mustBytes(t, environment("bootcount", "1", "bootlimit", "3"), 512, Layout{})
	newer := mustBytes(t, environment("bootcount", "2", "bootlimit", "3"), 512, Layout{})
	for i := range newer {
		flipped := bytes.Clone(newer)
		flipped[i] ^= 0x10
		if _, err := Parse(flipped, Layout{}); !errors.Is(err, ErrMalformed) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		torn := append(bytes.Clone(newer[:i]), older[i:]...)
		if _, err := Parse(torn, Layout{}); (err == nil) != (bytes.Equal(torn, older) || bytes.Equal(torn, newer)) {
			t.Fatalf("torn at byte %d: %v", i, err)
		}
		if _, err := Parse(newer[:i], Layout{}); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
}

func run(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("this test needs the Debian packages u-boot-tools and libubootenv-tool: %s %v: %v\n%s", name, arguments, err, output)
	}
	return string(output)
}

// mkenvimage, which is U-Boot's own, makes the same image.
func TestMkenvimage(t *testing.T) {
	dir := t.TempDir()
	text, image := filepath.Join(dir, "env.txt"), filepath.Join(dir, "env")
	if err := os.WriteFile(text, []byte("upgrade_available=1\nbootcount=0\nbootlimit=3\nspaced=a b = c\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e := environment("upgrade_available", "1", "bootcount", "0", "bootlimit", "3", "spaced", "a b = c")
	for _, layout := range []Layout{{}, {Flags: true}} {
		arguments := []string{"-s", "0x200", "-p", "0x00", "-o", image, text}
		if layout.Flags {
			arguments = append([]string{"-r"}, arguments...)
		}
		run(t, "mkenvimage", arguments...)
		want, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, mustBytes(t, e, 512, layout)) {
			t.Errorf("with %+v mkenvimage makes another image", layout)
		}
	}
}

// fw_printenv reads what Bytes wrote, and Parse what fw_setenv wrote.
func TestLibubootenv(t *testing.T) {
	dir := t.TempDir()
	image, config, change := filepath.Join(dir, "env"), filepath.Join(dir, "fw_env.config"), filepath.Join(dir, "change")
	data := mustBytes(t, environment("upgrade_available", "1", "bootcount", "0", "bootlimit", "3"), 0x2000, Layout{})
	for path, text := range map[string]string{image: string(data), config: image + " 0x0 0x2000\n", change: "bootcount=2\nnew=a b\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := run(t, "fw_printenv", "-c", config, "-n", "bootlimit"); got != "3\n" {
		t.Errorf("fw_printenv says %q", got)
	}
	run(t, "fw_setenv", "-c", config, "-s", change)
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(data, Layout{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Get("bootcount") != "2" || got.Get("new") != "a b" || got.Get("upgrade_available") != "1" {
		t.Errorf("fw_setenv wrote %+v", got.Variables())
	}
}

func FuzzParse(f *testing.F) {
	for _, layout := range []Layout{{}, {Flags: true}} {
		data, err := environment("a", `1\2`, "bootcount", "3").Bytes(64, layout)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, layout.Flags)
	}
	f.Fuzz(func(t *testing.T, data []byte, flags bool) {
		layout := Layout{flags}
		// Most of what is found is behind the checksum.
		if header := layout.header(); len(data) > header {
			if _, err := Parse(data, layout); err != nil {
				data = seal(data, header)
			}
		}
		e, err := Parse(data, layout)
		if err != nil {
			return
		}
		again, err := e.Bytes(2*len(data)+16, layout)
		if err != nil {
			t.Fatalf("%+v: %v", e.Variables(), err)
		}
		back, err := Parse(again, layout)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e.Variables(), back.Variables()); diff != "" {
			t.Error(diff)
		}
	})
}

// seal gives the data a checksum that fits.
func seal(data []byte, header int) []byte {
	sealed := bytes.Clone(data)
	binary.LittleEndian.PutUint32(sealed, crc32.ChecksumIEEE(sealed[header:]))
	return sealed
}
