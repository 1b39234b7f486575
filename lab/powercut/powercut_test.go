package powercut_test

import (
	"bytes"
	"encoding/binary"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/trebuchet-update/tbupdate/lab/powercut"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) { loopback.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const sector = 512

// request is one of a log that a test writes.
type request struct {
	sector uint64
	data   []byte
	flags  uint64
	length uint64 // in sectors, of a discard
}

const (
	flush   = 1
	fua     = 2
	discard = 4
)

// filled gives sectors full of a byte.
func filled(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n*sector) }

// writeLog writes a log as blklogwrites does.
func writeLog(t testing.TB, requests []request) *powercut.Log {
	t.Helper()
	sectorOf := func(words ...uint64) []byte {
		b := make([]byte, 0, sector)
		for _, word := range words {
			b = binary.LittleEndian.AppendUint64(b, word)
		}
		return b[:sector]
	}
	file := sectorOf(0x6a736677736872, 1, uint64(len(requests)), sector)
	for _, r := range requests {
		length := max(uint64(len(r.data)/sector), r.length)
		file = append(append(file, sectorOf(r.sector, length, r.flags, 0)...), r.data...)
	}
	path := filepath.Join(t.TempDir(), "log")
	must(t, os.WriteFile(path, file, 0o600))
	log, err := powercut.OpenLog(path)
	must(t, err)
	t.Cleanup(func() { log.Close() })
	return log
}

// made makes the disks of states, of 16 sectors that were empty before, and gives what is in their sectors.
func made(t *testing.T, log *powercut.Log, states []powercut.State) iter.Seq2[powercut.State, string] {
	return func(yield func(powercut.State, string) bool) {
		scratch := loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs}).Mount(t)
		base, path := scratch+"/base", scratch+"/state"
		must(t, os.WriteFile(base, make([]byte, 16*sector), 0o600))
		replay, err := log.NewReplay(base)
		must(t, err)
		defer replay.Close()
		for _, state := range states {
			must(t, replay.Make(state, path))
			content, err := os.ReadFile(path)
			must(t, err)
			must(t, os.Remove(path))
			if !yield(state, letters(t, content)) {
				return
			}
		}
	}
}

// TestStates makes every state of a log, and sees of each sector whether it could be so.
func TestStates(t *testing.T) {
	log := writeLog(t, []request{
		{sector: 0, data: filled(4, 'a')},
		{sector: 2, data: filled(4, 'b')},
		{flags: flush},
		{flags: flush}, // nothing between them
		{sector: 0, data: filled(2, 'c')},
		{sector: 6, data: filled(1, 'd'), flags: fua},
		{sector: 6, data: filled(1, 'e')},
		{sector: 4, length: 2, flags: discard},
		{sector: 8, data: filled(8, 'f')},
		{flags: flush},
		{sector: 0, data: filled(1, 'g')},
	})
	// What each sector may be, by the number of requests that were made and then by those that
	// are on the disk in any case.
	states := log.States(200, 1)
	whole := map[int]string{3: "aabbbb..........", 10: "ccbb..e.ffffffff", 11: "gcbb..e.ffffffff"}
	seen := map[string]bool{}
	for state, got := range made(t, log, states) {
		seen[got] = true
		if want, ok := whole[state.Entries]; state.Seed == 0 && (!ok || got != want) {
			t.Errorf("state %s is %q, want %q", state, got, want)
		}
		for i, allowed := range allowedAfter(state.Entries) {
			if !bytes.ContainsRune([]byte(allowed), rune(got[i])) {
				t.Errorf("state %s is %q, and sector %d should be one of %q", state, got, i, allowed)
			}
		}
	}
	for _, want := range whole {
		if !seen[want] {
			t.Errorf("there is no state %q", want)
		}
	}
	// Not all at once, not in order, and not whole.
	for name, want := range map[string]func(string) bool{
		"nothing of the first gap": func(s string) bool { return s == "................" },
		"second without first":     func(s string) bool { return s[:6] == "..bbbb" },
		"first over second":        func(s string) bool { return s[:6] == "aaaabb" },
		"a part of a write":        func(s string) bool { return s[8] == '.' && s[12] == 'f' && s[15] == '.' },
	} {
		if !anyOf(seen, want) {
			t.Errorf("no state has %s", name)
		}
	}
	if len(states) != 3+3*200 {
		t.Errorf("there are %d states", len(states))
	}
}

// TestWhole tears writes that a disk does at once only in part.
func TestWhole(t *testing.T) {
	log := writeLog(t, []request{{sector: 0, data: filled(16, 'a')}})
	log.Whole(4*sector, 4*sector)
	seen := map[string]bool{}
	for state, got := range made(t, log, log.States(400, 1)) {
		seen[got] = true
		if whole := got[4:8]; whole != "aaaa" && whole != "...." {
			t.Errorf("state %s is %q", state, got)
		}
	}
	for name, is := range map[string]func(string) bool{
		"nothing of it":       func(s string) bool { return s == "................" },
		"what is before it":   func(s string) bool { return s[3] == 'a' && s[4] == '.' },
		"what is behind it":   func(s string) bool { return s[7] == '.' && s[8] == 'a' },
		"a beginning with it": func(s string) bool { return s[3] == '.' && s[4] == 'a' },
		"an end with it":      func(s string) bool { return s[7] == 'a' && s[8] == '.' },
	} {
		if !anyOf(seen, is) {
			t.Errorf("no state has %s", name)
		}
	}
}

func anyOf(seen map[string]bool, is func(string) bool) bool {
	for s := range seen {
		if is(s) {
			return true
		}
	}
	return false
}

// allowedAfter gives for each sector of the log of TestStates what it may be after so many requests.
func allowedAfter(requests int) []string {
	switch {
	case requests <= 3:
		return []string{".a", ".a", ".ab", ".ab", ".b", ".b", ".", ".", ".", ".", ".", ".", ".", ".", ".", "."}
	case requests < 6:
		return []string{"ac", "ac", "b", "b", "b", "b", ".", ".", ".", ".", ".", ".", ".", ".", ".", "."}
	case requests <= 10:
		return []string{"ac", "ac", "b", "b", "b.", "b.", "de", ".", ".f", ".f", ".f", ".f", ".f", ".f", ".f", ".f"}
	}
	return []string{"cg", "c", "b", "b", ".", ".", "e", ".", "f", "f", "f", "f", "f", "f", "f", "f"}
}

// letters gives the byte of each sector, a dot for zeros.
func letters(t testing.TB, content []byte) string {
	t.Helper()
	var b []byte
	for chunk := range slices.Chunk(content, sector) {
		if bytes.Count(chunk, chunk[:1]) != sector {
			t.Error("a sector was torn")
		}
		if chunk[0] == 0 {
			b = append(b, '.')
			continue
		}
		b = append(b, chunk[0])
	}
	return string(b)
}

func TestWhatIsNoLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, content := range [][]byte{nil, make([]byte, 4096), writeSector(0x6a736677736872, 1, 7, sector)} {
		must(t, os.WriteFile(path, content, 0o600))
		if _, err := powercut.OpenLog(path); err == nil {
			t.Errorf("%d bytes are taken for a log", len(content))
		}
	}
}

func writeSector(words ...uint64) []byte {
	var b []byte
	for _, word := range words {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return append(b, make([]byte, sector-len(b))...)
}

// TestRecord records a filesystem that is made, written to, and synced, and finds each of its
// steps in the states.
func TestRecord(t *testing.T) {
	scratch := loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs, Size: 2 << 30}).Mount(t)
	disk := scratch + "/disk"
	must(t, loopback.CreateImage(disk, 256<<20))
	must(t, loopback.Format(t.Context(), disk, loopback.Ext4))
	before, err := os.ReadFile(disk)
	must(t, err)
	must(t, os.WriteFile(scratch+"/base", before, 0o600))
	recording, err := powercut.Record(t.Context(), disk, t.TempDir())
	must(t, err)
	const files = 5
	func() {
		device := loopback.Open(t, recording.Path, loopback.Ext4)
		defer device.Close(t)
		top := device.Mount(t)
		for i := range files {
			file, err := os.Create(filepath.Join(top, string(rune('a'+i))))
			must(t, err)
			_, err = file.Write(bytes.Repeat([]byte{byte('a' + i)}, 100_000))
			must(t, err)
			must(t, file.Sync())
			must(t, file.Close())
		}
		device.Unmount(t, top)
	}()
	must(t, recording.Stop())
	log, err := recording.Log()
	must(t, err)
	defer log.Close()
	replay, err := log.NewReplay(scratch + "/base")
	must(t, err)
	defer replay.Close()
	most := 0
	for _, state := range log.States(2, 1) {
		path := scratch + "/state"
		must(t, replay.Make(state, path))
		device := loopback.Open(t, path, loopback.Ext4)
		top := device.Mount(t)
		whole := 0
		for i := range files {
			content, err := os.ReadFile(filepath.Join(top, string(rune('a'+i))))
			if err == nil && len(content) == 100_000 && content[0] == byte('a'+i) && content[99_999] == byte('a'+i) {
				whole++
			}
		}
		if whole < most {
			t.Errorf("state %s has %d files, and one before had %d", state, whole, most)
		}
		if state.Seed == 0 {
			most = whole
		}
		device.Close(t)
		must(t, os.Remove(path))
	}
	if most != files {
		t.Errorf("the last state has %d files", most)
	}
	after, err := os.ReadFile(disk)
	must(t, err)
	last := scratch + "/last"
	must(t, replay.Make(powercut.State{Entries: len(log.Entries)}, last))
	got, err := os.ReadFile(last)
	must(t, err)
	if !bytes.Equal(got, after) {
		t.Error("all that was recorded is not the disk")
	}
}
