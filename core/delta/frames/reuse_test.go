package frames_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/delta/frames"
	"github.com/trebuchet-update/tbupdate/core/delta/libzstd"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// noise gives bytes that nothing packs.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 0, n+8)
	for len(b) < n {
		x := r.Uint64()
		b = append(b, byte(x), byte(x>>8), byte(x>>16), byte(x>>24), byte(x>>32), byte(x>>40), byte(x>>48), byte(x>>56))
	}
	return b[:n]
}

// TestWhatThereIsAlreadyIsNotSent has content that nothing packs, so that what is sent shows in
// the size of the stream.
func TestWhatThereIsAlreadyIsNotSent(t *testing.T) {
	const megabyte = 1 << 20
	old, other, fresh := noise(1, 24*megabyte), noise(2, 3*megabyte), noise(3, megabyte)
	for name, c := range map[string]struct {
		origin, target map[string][]byte
		sent           int // bytes that are new
	}{
		"bytes inserted in a large file": {
			origin: map[string][]byte{"f": old},
			target: map[string][]byte{"f": bytes.Join([][]byte{old[:9_000_001], fresh[:777], old[9_000_001:]}, nil)},
			sent:   777,
		},
		"blocks changed all over a large file": {
			origin: map[string][]byte{"f": old},
			target: map[string][]byte{"f": every(old, megabyte, fresh[:4096])},
			sent:   24 * 4096,
		},
		"halves exchanged": {
			origin: map[string][]byte{"f": old},
			target: map[string][]byte{"f": bytes.Join([][]byte{old[12*megabyte:], old[:12*megabyte]}, nil)},
		},
		"two files put into one of another name": {
			origin: map[string][]byte{"a": old, "b": other},
			target: map[string][]byte{"z": bytes.Join([][]byte{other, fresh[:100], old}, nil)},
			sent:   100,
		},
		"what a new file has is in another new one": {
			origin: map[string][]byte{"a": fresh[:10]},
			target: map[string][]byte{"a": fresh[:10], "b": old, "c/d": bytes.Join([][]byte{fresh[:50], old[5:]}, nil)},
			sent:   len(old) + 50,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin, target := t.TempDir(), t.TempDir()
			for top, files := range map[string]map[string][]byte{origin: c.origin, target: c.target} {
				for path, content := range files {
					write(t, filepath.Join(top, path), content)
				}
			}
			stream, _ := create(t, origin, target)
			if most := c.sent + c.sent/50 + 2000; len(stream) > most {
				t.Errorf("the stream has %d bytes, and %d would be enough", len(stream), most)
			}
			deploy(t, stream, origin)
			wantSame(t, origin, target)
		})
	}
}

// every replaces what is at multiples of a distance.
func every(b []byte, distance int, with []byte) []byte {
	b = bytes.Clone(b)
	for at := 0; at < len(b); at += distance {
		for i := range with {
			b[at+i] = with[i] ^ byte(at/distance)
		}
	}
	return b
}

// TestWhatStaysIsShared counts the blocks of a file that nobody else has, on a filesystem that
// can share them.
func TestWhatStaysIsShared(t *testing.T) {
	top := loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs}).Mount(t)
	origin, snapshot, target := filepath.Join(top, "origin"), filepath.Join(top, "snapshot"), t.TempDir()
	run(t, "btrfs", "subvolume", "create", origin)
	old := noise(4, 8<<20)
	write(t, origin+"/f", old)
	write(t, target+"/f", bytes.Join([][]byte{every(old[:4<<20], 1<<20, noise(5, 4096)), noise(6, 64<<10), old[4<<20:]}, nil))
	run(t, "sync")
	run(t, "btrfs", "subvolume", "snapshot", origin, snapshot)
	stream, _ := create(t, origin, target)
	deploy(t, stream, snapshot)
	wantSame(t, snapshot, target)
	run(t, "sync")
	fields := bytes.Fields(run(t, "btrfs", "filesystem", "du", "--raw", snapshot+"/f"))
	// Total, exclusive, set shared, filename, each twice: the first line is titles.
	var total, exclusive int
	if _, err := fmt.Sscan(string(bytes.Join(fields[len(fields)-4:len(fields)-2], []byte(" "))), &total, &exclusive); err != nil {
		t.Fatalf("%v in %q", err, fields)
	}
	if total < 8<<20 || exclusive > 4*4096+64<<10+4096 {
		t.Errorf("of %d bytes %d are not shared", total, exclusive)
	}
}

// TestPackedFilesAreMadeFromWhatIsInstalled has an initial RAM disk whose files are those of the
// new tree, and a program that comes with it.
func TestPackedFilesAreMadeFromWhatIsInstalled(t *testing.T) {
	origin, target := t.TempDir(), t.TempDir()
	module := noise(7, 3<<20)
	for top, content := range map[string][]byte{origin: noise(8, 2<<20), target: bytes.Join([][]byte{words(1, 100_000), module, words(2, 50_000)}, nil)} {
		write(t, top+"/boot/initrd", pack(t, content, "gzip", "-c"))
		copyProgram(t, top, "/usr/bin/gzip")
	}
	write(t, target+"/lib/module", module)
	old := origin + "/usr/bin/gzip"
	if err := os.WriteFile(old, []byte("#!/bin/false\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	stream, _ := create(t, origin, target)
	program, err := os.Stat(target + "/usr/bin/gzip")
	if err != nil {
		t.Fatal(err)
	}
	if most := len(module) + int(program.Size()) + 100_000; len(stream) > most {
		t.Errorf("the stream has %d bytes, and %d would be enough", len(stream), most)
	}
	deploy(t, stream, origin)
	wantSame(t, origin, target)
}

// TestLevels has every level make a stream that works, and smaller ones with more work.
func TestLevels(t *testing.T) {
	origin, target := t.TempDir(), t.TempDir()
	write(t, origin+"/f", words(1, 3<<20))
	write(t, target+"/f", words(2, 1<<20), words(1, 1<<20))
	copyProgram(t, target, "/usr/bin/gzip")
	before := 0
	for _, level := range []frames.Level{frames.Fast, frames.Default, frames.Small} {
		var stream bytes.Buffer
		_, err := frames.Create(t.Context(), &stream, origin, target, frames.Options{Level: level, Spool: t.TempDir()})
		if level == frames.Small && !libzstd.Available {
			if err != frames.ErrLevel {
				t.Errorf("without libzstd the error is %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if size := stream.Len(); size > cmp.Or(before, size) {
			t.Errorf("level %d gives %d bytes, and the one before it %d", level, size, before)
		}
		before = stream.Len()
		made := t.TempDir()
		run(t, "cp", "-a", origin+"/.", made)
		deploy(t, stream.Bytes(), made)
		wantSame(t, made, target)
	}
}

// TestManyHoles has a file of holes and data by turns: more parts than one frame takes.
func TestManyHoles(t *testing.T) {
	origin, target := t.TempDir(), t.TempDir()
	write(t, origin+"/f", []byte("old"))
	write(t, target+"/f", nil)
	f, err := os.OpenFile(target+"/f", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range int64(20_000) {
		if _, err := f.WriteAt([]byte{byte(i), 1}, i*2*4096); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Fsync(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
	stream, stats := create(t, origin, target)
	if stats.Frames < 3 {
		t.Errorf("all is in %d frames", stats.Frames)
	}
	deploy(t, stream, origin)
	wantSame(t, origin, target)
}

// run runs a program of this machine, and gives what it printed.
func run(t testing.TB, name string, arguments ...string) []byte {
	t.Helper()
	output, err := exec.Command(name, arguments...).Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return output
}
