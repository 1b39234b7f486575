package frames_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/trebuchet-update/tbupdate/core/delta/frames"
	"github.com/trebuchet-update/tbupdate/core/rootfs"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// copyProgram copies a program of this machine, and the libraries that it needs, to where
// they are in a tree.
func copyProgram(t testing.TB, top, program string) {
	t.Helper()
	output, err := exec.Command("ldd", program).CombinedOutput()
	if err != nil {
		t.Fatalf("ldd: %v: %s", err, output)
	}
	paths := []string{program}
	for _, match := range regexp.MustCompile(`(/\S+) \(0x`).FindAllStringSubmatch(string(output), -1) {
		paths = append(paths, match[1])
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(top, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// words gives text that packs to about a third, with some words replaced.
func words(seed uint64, n int, replaced ...int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		word := r.Uint32N(1 << 24)
		for _, at := range replaced {
			if i == at {
				word = 0
			}
		}
		fmt.Fprintf(&b, "%d of %d\n", word, i)
	}
	return b.Bytes()
}

// pack packs with a program of this machine.
func pack(t testing.TB, content []byte, program string, arguments ...string) []byte {
	t.Helper()
	command := exec.Command(program, arguments...)
	command.Stdin = bytes.NewReader(content)
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return output
}

func write(t testing.TB, path string, content ...[]byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Join(content, nil), 0o644); err != nil {
		t.Fatal(err)
	}
}

// microcode is a cpio archive with nothing in it, as it stands before initial RAM disks.
func microcode(t testing.TB) []byte {
	t.Helper()
	archive := pack(t, nil, "cpio", "--create", "--format=newc", "--quiet")
	return append(archive, make([]byte, 1024)...)
}

// TestPackedFilesAreLookedInto has initial RAM disks that differ in a few words: packed
// they have nothing in common behind the first of them.
func TestPackedFilesAreLookedInto(t *testing.T) {
	for name, c := range map[string]struct {
		program string
		level   string
		head    []byte
		without bool // the tree lacks the program
		size    int  // 4 MiB if it is 0
	}{
		"gzip, several frames":  {program: "/usr/bin/gzip", level: "-6", size: 9 << 20},
		"gzip, best":            {program: "/usr/bin/gzip", level: "-9"},
		"gzip behind microcode": {program: "/usr/bin/gzip", level: "-6", head: microcode(t)},
		"zstd":                  {program: "/usr/bin/zstd", level: "-9"},
		"without the program":   {program: "/usr/bin/gzip", level: "-6", without: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin, target := t.TempDir(), t.TempDir()
			size := cmp.Or(c.size, 4<<20)
			before, after := words(1, size), words(1, size, 17, 20_000, 100_000)
			for top, content := range map[string][]byte{origin: before, target: after} {
				write(t, top+"/boot/initrd.img-"+fmt.Sprint(len(top)), c.head, pack(t, content, c.program, "-c", c.level))
				if !c.without {
					copyProgram(t, top, c.program)
				}
			}
			if err := os.Rename(origin+"/boot/initrd.img-"+fmt.Sprint(len(origin)), origin+"/boot/initrd.img-1"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(target+"/boot/initrd.img-"+fmt.Sprint(len(target)), target+"/boot/initrd.img-2"); err != nil {
				t.Fatal(err)
			}
			stream, _ := createAt(t, frames.Default, origin, target)
			if small := len(stream) < 100_000; small == c.without {
				t.Errorf("the stream has %d bytes", len(stream))
			}
			deploy(t, stream, origin)
			wantSame(t, origin, target)
		})
	}
}

// TestAnotherPacker has a machine whose program is not that of the origin.
func TestAnotherPacker(t *testing.T) {
	origin, target := t.TempDir(), t.TempDir()
	write(t, origin+"/boot/initrd", pack(t, words(1, 4<<20), "gzip", "-c"))
	write(t, target+"/boot/initrd", pack(t, words(1, 4<<20, 9), "gzip", "-c"))
	copyProgram(t, origin, "/usr/bin/gzip")
	copyProgram(t, target, "/usr/bin/gzip")
	stream, _ := createAt(t, frames.Default, origin, target)
	f, err := os.OpenFile(origin+"/usr/bin/gzip", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("changed"); err != nil {
		t.Fatal(err)
	}
	reader, err := v1.NewReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	top, err := rootfs.Open(origin)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	if _, err := top.DeployFrames(t.Context(), reader, rootfs.Options{}); !errors.Is(err, rootfs.ErrOriginMismatch) {
		t.Errorf("the error is %v", err)
	}
}
