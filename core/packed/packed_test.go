package packed_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/trebuchet-update/tbupdate/core/packed"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

func run(t *testing.T, input string, program string, arguments ...string) []byte {
	t.Helper()
	command := exec.Command(program, arguments...)
	command.Stdin = strings.NewReader(input)
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return output
}

func TestFind(t *testing.T) {
	archive := run(t, "", "cpio", "--create", "--format=newc", "--quiet")
	zeros := make([]byte, 700)
	gzip, zstd := run(t, "content", "gzip", "-c"), run(t, "content", "zstd", "-q", "-c")
	lz4 := run(t, "content", "lz4", "-l", "-9", "-c")
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		content []byte
		method  v1.PackedBy // AsItIs: nothing is found
		offset  int
	}{
		"gzip":                 {gzip, v1.ByGzip, 0},
		"zstd":                 {zstd, v1.ByZstd, 0},
		"gzip behind a cpio":   {join(archive, zeros, gzip), v1.ByGzip, len(archive) + len(zeros)},
		"zstd behind a cpio":   {join(archive, zstd), v1.ByZstd, len(archive)},
		"lz4":                  {lz4, v1.ByLZ4, 0},
		"lz4 in a kernel":      {kernel(lz4, 0x20f), v1.ByLZ4, 1024 + 700},
		"gzip in a kernel":     {kernel(gzip, 0x208), v1.ByGzip, 1024 + 700},
		"an old kernel":        {kernel(gzip, 0x207), v1.AsItIs, 0},
		"a kernel that is cut": {kernel(gzip, 0x20f)[:1024+700+len(gzip)-1], v1.AsItIs, 0},
		"a cpio alone":         {archive, v1.AsItIs, 0},
		"a cpio that is cut":   {archive[:60], v1.AsItIs, 0},
		"a cpio without magic": {append([]byte("070702"), archive[6:]...), v1.AsItIs, 0},
		"text":                 {[]byte("content"), v1.AsItIs, 0},
		"nothing":              {nil, v1.AsItIs, 0},
		"gzip of compress(1)":  {[]byte{0x1f, 0x9d, 8, 0}, v1.AsItIs, 0},
	} {
		found, ok := packed.Find(bytes.NewReader(c.content), int64(len(c.content)))
		if ok != (c.method != v1.AsItIs) || found.Method != c.method || found.Offset != int64(c.offset) {
			t.Errorf("%s: %+v, %v", name, found, ok)
			continue
		}
		if !ok {
			continue
		}
		reader, err := packed.NewReader(found.Method, bytes.NewReader(c.content[found.Offset:][:found.Length]))
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil || string(content) != "content" {
			t.Errorf("%s: unpacked it is %q, %v", name, content, err)
		}
		reader.Close()
	}
}

// kernel is what a kernel for x86 of that version of the boot protocol looks like: two sectors,
// 700 bytes of the part that unpacks, the payload, and a signature.
func kernel(payload []byte, version uint16) []byte {
	image := make([]byte, 2*512+700, 4096)
	image[0x1f1] = 1
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(image[0x206:], version)
	binary.LittleEndian.PutUint32(image[0x248:], 700)
	binary.LittleEndian.PutUint32(image[0x24c:], uint32(len(payload))+4)
	image = binary.LittleEndian.AppendUint32(append(image, payload...), 7) // bytes unpacked
	return append(image, "signature"...)
}

func TestHeaderSize(t *testing.T) {
	plain := run(t, "content", "gzip", "-n", "-c")
	file := t.TempDir() + "/name"
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	named := run(t, "", "gzip", "-c", file)
	extra := append([]byte{0x1f, 0x8b, 8, 4 | 16 | 2, 0, 0, 0, 0, 0, 3, 2, 0, 'x', 'y'}, "note\x00cc"...)
	for name, c := range map[string]struct {
		content []byte
		want    int64 // -1 is an error
	}{
		"plain": {plain, packed.PlainHeader}, "with a name": {named, packed.PlainHeader + 5},
		"with everything else": {extra, int64(len(extra))},
		"cut":                  {plain[:5], -1}, "name without an end": {named[:12], -1},
	} {
		got, err := packed.HeaderSize(bytes.NewReader(c.content), packed.Found{Method: v1.ByGzip})
		if err != nil {
			got = -1
		}
		if got != c.want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, c.want)
		}
	}
}

func TestPacker(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root: it runs programs in a jail")
	}
	start := func(w io.Writer, program string, arguments ...string) (packed.Packer, error) {
		return packed.Start(t.Context(), "/", program, arguments, w)
	}
	var output bytes.Buffer
	p, err := start(&packed.Window{W: &output, Skip: 2, Length: 3}, "bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(p, "abcde"); err != nil {
		t.Error(err)
	}
	if err := p.End(); err != nil || output.String() != "cde" {
		t.Errorf("it gave %q, %v", &output, err)
	}

	if p, err = start(&packed.Window{W: &output, Length: 3}, "bin/cat"); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(p, "more than that") // it may be gone by then
	if err := p.End(); !errors.Is(err, packed.ErrOther) {
		t.Errorf("more than there should be: %v", err)
	}

	if p, err = start(io.Discard, "bin/sh", "-c", "id -u; echo broken >&2; exit 3"); err != nil {
		t.Fatal(err)
	}
	if err := p.End(); err == nil || !strings.Contains(err.Error(), `cannot pack with "bin/sh" of the tree: exit status 3: broken`) {
		t.Errorf("a program that fails: %v", err)
	}

	output.Reset()
	if p, err = start(&output, "bin/sh", "-c", "id -u; id -G; cat /proc/self/status | grep CapEff"); err != nil {
		t.Fatal(err)
	}
	if err := p.End(); err != nil || !strings.HasPrefix(output.String(), "65534\n65534\n") || !strings.Contains(output.String(), "CapEff:\t0000000000000000") {
		t.Errorf("it runs with %q, %v", &output, err)
	}

	if _, err := start(io.Discard, "no/such/program"); err == nil {
		t.Error("a program that is not there was started")
	}
	if p, err = start(io.Discard, "bin/cat"); err != nil {
		t.Fatal(err)
	}
	p.Kill()

	ctx, cancel := context.WithCancel(t.Context())
	if p, err = packed.Start(ctx, "/", "bin/sleep", []string{"1000"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := p.End(); err == nil {
		t.Error("a program that was stopped has ended well")
	}
}
