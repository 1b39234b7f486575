package lz4_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/trebuchet-update/tbupdate/core/packed/lz4"
)

// blockSize is that of blocks in the legacy format.
const blockSize = 8 << 20

// reference packs with the reference implementation.
func reference(t testing.TB, content []byte, level string) []byte {
	t.Helper()
	command := exec.Command("lz4", "-l", level, "-c")
	command.Stdin = bytes.NewReader(content)
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return output
}

func pack(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := lz4.NewWriter(&b)
	// In pieces of many sizes: it packs what it has of a block.
	for size := 1; len(content) > 0; size += size/8 + 1 {
		n := min(size, len(content))
		if _, err := w.Write(content[:n]); err != nil {
			t.Fatal(err)
		}
		content = content[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sameAsReference compares what both make, and unpacks it again.
func sameAsReference(t *testing.T, name string, content []byte) {
	t.Helper()
	want, got := reference(t, content, "-9"), pack(t, content)
	if !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Errorf("%s: %d bytes are packed to %d, and by the reference to %d, which differ from byte %d on", name, len(content), len(got), len(want), at)
	}
	// What another level makes is no different to unpack.
	for _, packed := range [][]byte{want, reference(t, content, "-1")} {
		back, err := io.ReadAll(lz4.NewReader(iotest.HalfReader(bytes.NewReader(packed))))
		if err != nil || !bytes.Equal(back, content) {
			t.Fatalf("%s: unpacked it is something else: %v", name, err)
		}
	}
}

// TestSameAsReference packs what programs are made of, and runs and repetitions of all kinds.
func TestSameAsReference(t *testing.T) {
	programs, err := filepath.Glob("/usr/bin/*")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, program := range programs {
		content, err := os.ReadFile(program)
		if err != nil || len(all) > blockSize+blockSize/4 {
			continue
		}
		all = append(all, content...)
	}
	if len(all) < blockSize {
		t.Fatalf("the programs of this machine have %d bytes only", len(all))
	}
	sameAsReference(t, "programs", all)
	for n := range 40 {
		sameAsReference(t, "the beginning of programs", all[:n])
	}
	sameAsReference(t, "zeros", make([]byte, blockSize+100))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 100 {
		sameAsReference(t, fmt.Sprintf("mixture %d", i), mixture(random, 1+random.IntN(100_000)))
	}
}

// mixture has runs, copies from near and far with changed bytes in them, and what is new.
func mixture(random *rand.Rand, size int) []byte {
	var b []byte
	symbols := 1 + random.IntN(256)
	longest := 1 << (1 + random.IntN(12))
	for len(b) < size {
		n := 1 + random.IntN(longest)
		switch kind := random.IntN(4); {
		case kind == 0:
			b = append(b, bytes.Repeat([]byte{byte(random.IntN(symbols))}, n)...)
		case kind == 1 && len(b) > 0:
			from := random.IntN(len(b))
			b = append(b, b[from:min(len(b), from+n)]...)
		case kind == 2 && len(b) > 0:
			from := max(0, len(b)-1-random.IntN(300))
			for range n {
				b = append(b, b[from])
				from++
			}
		default:
			for range n {
				b = append(b, byte(random.IntN(symbols)))
			}
		}
		if len(b) > 0 {
			b[random.IntN(len(b))]++
		}
	}
	return b[:size]
}

// TestWriterEndsEarly kills one that waits and one that packs, and lets one write in vain.
func TestWriterEndsEarly(t *testing.T) {
	content := mixture(rand.New(rand.NewPCG(9, 10)), blockSize+blockSize/2)
	for _, n := range []int{0, 1000, blockSize, len(content)} {
		var b bytes.Buffer
		w := lz4.NewWriter(&b)
		if _, err := w.Write(content[:n]); err != nil {
			t.Fatal(err)
		}
		w.Kill()
		if n < blockSize && b.Len() > 0 {
			t.Errorf("killed after %d bytes it has written %d", n, b.Len())
		}
	}
	full := errors.New("full")
	for _, n := range []int{0, 1000, blockSize, len(content)} {
		w := lz4.NewWriter(writerFunc(func([]byte) (int, error) { return 0, full }))
		_, err := w.Write(content[:n])
		if closed := w.Close(); !errors.Is(closed, full) || err != nil && !errors.Is(err, full) {
			t.Errorf("%d bytes for a file that is full: %v, and then %v", n, err, closed)
		}
		if _, err := w.Write(content[:1]); !errors.Is(err, full) {
			t.Errorf("more for it: %v", err)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestSkip reads from each place within two blocks and a piece.
func TestSkip(t *testing.T) {
	content := mixture(rand.New(rand.NewPCG(7, 8)), 2*blockSize+1000)
	packed := reference(t, content, "-1")
	for _, skips := range [][]int{
		{0}, {1}, {blockSize - 1}, {blockSize}, {blockSize + 1}, {2 * blockSize}, {len(content) - 1}, {len(content)},
		{5, blockSize}, {blockSize, blockSize}, {100_000, blockSize - 100_000, blockSize + 7},
	} {
		r, at := lz4.NewReader(bytes.NewReader(packed)), 0
		for _, n := range skips {
			if err := r.Skip(int64(n)); err != nil {
				t.Fatalf("%d: %v", skips, err)
			}
			at += n
			var next [3]byte
			n, err := io.ReadFull(r, next[:min(3, len(content)-at)])
			if err != nil || string(next[:n]) != string(content[at:at+n]) {
				t.Fatalf("%d: behind %d bytes is %q, %v", skips, at, next[:n], err)
			}
			at += n
		}
		rest, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(rest, content[at:]) {
			t.Errorf("%d: the rest differs, %v", skips, err)
		}
	}
	for _, n := range []int64{int64(len(content)) + 1, 3 * blockSize, 4 * blockSize} {
		r := lz4.NewReader(bytes.NewReader(packed))
		err := r.Skip(n)
		if err == nil {
			_, err = r.Read(make([]byte, 1))
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("over %d bytes: %v", n, err)
		}
	}
}

// TestReaderRefuses cuts a frame everywhere, and changes it.
func TestReaderRefuses(t *testing.T) {
	content := mixture(rand.New(rand.NewPCG(3, 4)), 5000)
	whole := pack(t, content)
	for n := range len(whole) {
		if n == len(lz4Magic) {
			continue // nothing is packed
		}
		if _, err := io.ReadAll(lz4.NewReader(bytes.NewReader(whole[:n]))); !errors.Is(err, lz4.ErrMalformed) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
	}
	broken := errors.New("broken")
	if _, err := io.ReadAll(lz4.NewReader(io.MultiReader(bytes.NewReader(whole[:1000]), iotest.ErrReader(broken)))); !errors.Is(err, broken) {
		t.Errorf("what cannot be read gives the error %v", err)
	}
	for name, frame := range map[string]string{
		"another magic number":        "\x03\x21\x4c\x18\x01\x00\x00\x00\x00",
		"an empty block":              lz4Magic + "\x00\x00\x00\x00",
		"a block that is too large":   lz4Magic + "\xff\xff\xff\x00\x00",
		"a block behind a small one":  lz4Magic + "\x02\x00\x00\x00\x10a" + "\x02\x00\x00\x00\x10a",
		"a match before the block":    lz4Magic + "\x05\x00\x00\x00\x10a\x02\x00\x00",
		"a match at no distance":      lz4Magic + "\x05\x00\x00\x00\x10a\x00\x00\x00",
		"a match in the block before": lz4Magic + "\x02\x00\x00\x00\x10a" + "\x05\x00\x00\x00\x10a\x02\x00\x00",
	} {
		if got, err := io.ReadAll(lz4.NewReader(bytes.NewReader([]byte(frame)))); !errors.Is(err, lz4.ErrMalformed) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

const lz4Magic = "\x02\x21\x4c\x18"

// FuzzReader unpacks anything; and what is packed by this package gives itself.
func FuzzReader(f *testing.F) {
	f.Add([]byte(lz4Magic + "\x02\x00\x00\x00\x10a"))
	f.Add(pack(f, mixture(rand.New(rand.NewPCG(5, 6)), 3000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := io.Copy(io.Discard, io.LimitReader(lz4.NewReader(bytes.NewReader(b)), 1<<20)); err != nil && !errors.Is(err, lz4.ErrMalformed) {
			t.Errorf("an error of no kind: %v", err)
		}
		back, err := io.ReadAll(lz4.NewReader(bytes.NewReader(pack(t, b))))
		if err != nil || !bytes.Equal(back, b) {
			t.Errorf("%q becomes %q, %v", b, back, err)
		}
	})
}
