package powercut

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"
)

// State is what a loss of power could have left of a disk.
type State struct {
	// Entries is the number of requests that were made before it. Those up to the last flush are
	// on the disk.
	Entries int
	// Seed says which of the others are; 0 for all of them.
	Seed uint64
}

// String names the state: it can be made again from that and the recording.
func (s State) String() string {
	if s.Seed == 0 {
		return fmt.Sprintf("%d", s.Entries)
	}
	return fmt.Sprintf("%d torn by %d", s.Entries, s.Seed)
}

// States gives the states to look at: after each flush that had something to do, at the end, and for each
// gap between two of them so many torn ones. seed is where their seeds begin.
func (l *Log) States(torn int, seed uint64) []State {
	var states []State
	written := 0 // requests since the last flush
	for i, e := range l.Entries {
		last := i == len(l.Entries)-1
		if e.Kind != Flush {
			written++
		}
		if e.Kind != Flush && !last || written == 0 {
			continue
		}
		begin := i + 1 - written
		if e.Kind == Flush {
			begin--
		}
		for range torn {
			seed++
			// Power goes at some instant of the gap.
			cut := begin + 1 + int(rand.New(rand.NewPCG(seed, 0)).Uint64N(uint64(written)))
			states = append(states, State{Entries: cut, Seed: seed})
		}
		states = append(states, State{Entries: i + 1})
		written = 0
	}
	return states
}

// tearing is what any disk writes at once, in bytes.
const tearing = 512

// Whole says of a place, whose bounds are multiples of 512 bytes, that the disk writes it at once. Without
// this a loss of power may leave a part of any write.
func (l *Log) Whole(offset, length int64) { l.whole = append(l.whole, span{offset, offset + length}) }

// btrfsSuperblocks are where btrfs has copies of its superblock, on a filesystem of less than 256 GiB, and
// btrfsSuperblock is the size of each, in bytes.
var btrfsSuperblocks = []int64{64 << 10, 64 << 20}

const btrfsSuperblock = 4096

// Btrfs says that a btrfs begins at a byte of the disk. It takes it that each of its superblocks is written at
// once: a torn one cannot be mounted, whoever wrote it, and no order of writes helps against that.
func (l *Log) Btrfs(start int64) {
	for _, offset := range btrfsSuperblocks {
		l.Whole(start+offset, btrfsSuperblock)
	}
}

// span is a part of a disk.
type span struct{ begin, end int64 }

// Replay makes the disks of a recording. States have to come in their order.
type Replay struct {
	log  *Log
	base *os.File // has all requests before the last flush up to at
	at   int
}

// NewReplay begins with a disk as it was before the recording, in a file of the caller's, which it
// changes. Close releases it.
func (l *Log) NewReplay(base string) (*Replay, error) {
	file, err := os.OpenFile(base, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &Replay{log: l, base: file}, nil
}

// Close releases the file.
func (r *Replay) Close() error { return r.base.Close() }

// Make makes the disk of a state in a new file. On a filesystem that can do that it shares with the
// base what they have in common.
func (r *Replay) Make(s State, path string) (err error) {
	flushed := r.log.flushedBefore(s)
	if flushed < r.at {
		return fmt.Errorf("the state %s comes after %d", s, r.at)
	}
	for ; r.at < flushed; r.at++ {
		if err := r.log.carryOut(r.base, r.log.Entries[r.at]); err != nil {
			return err
		}
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := unix.IoctlFileClone(int(file.Fd()), int(r.base.Fd())); err != nil {
		return fmt.Errorf("cannot clone the disk: %w", err)
	}
	rest := r.log.Entries[flushed:s.Entries]
	if s.Seed == 0 {
		for _, e := range rest {
			if err := r.log.carryOut(file, e); err != nil {
				return err
			}
		}
		return nil
	}
	return r.log.tear(file, rest, rand.New(rand.NewPCG(s.Seed, 1)))
}

// flushedBefore gives the number of requests that are on the disk in any case.
func (l *Log) flushedBefore(s State) int {
	for i := s.Entries - 1; i >= 0; i-- {
		if l.Entries[i].Kind == Flush {
			return i + 1
		}
	}
	return 0
}

// carryOut does to a disk what a request does. What is discarded reads as zeros.
func (l *Log) carryOut(disk *os.File, e Entry) error {
	switch e.Kind {
	case Write:
		b, err := l.bytes(e)
		if err == nil {
			_, err = disk.WriteAt(b, e.Offset)
		}
		return err
	case Discard:
		return unix.Fallocate(int(disk.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, e.Offset, e.Length)
	}
	return nil
}

// tear carries out some of the requests, in any order: what is durable, of the others every second one,
// and of some of those only a part, by what a disk writes at once.
func (l *Log) tear(disk *os.File, requests []Entry, random *rand.Rand) error {
	var some []Entry
	for _, e := range requests {
		if !e.Durable {
			if random.Uint64N(2) == 0 {
				some = append(some, l.part(e, random))
			}
			continue
		}
		// What it overwrote does not come back.
		if err := l.shuffled(disk, some, random); err != nil {
			return err
		}
		some = nil
		if err := l.carryOut(disk, e); err != nil {
			return err
		}
	}
	return l.shuffled(disk, some, random)
}

// shuffled carries out requests in any order.
func (l *Log) shuffled(disk *os.File, requests []Entry, random *rand.Rand) error {
	random.Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
	for _, e := range requests {
		if err := l.carryOut(disk, e); err != nil {
			return err
		}
	}
	return nil
}

// part gives a request, or every fourth time a part of a write.
func (l *Log) part(e Entry, random *rand.Rand) Entry {
	pieces := e.Length / tearing
	if e.Kind != Write || pieces < 2 || random.Uint64N(4) > 0 {
		return e
	}
	first := random.Int64N(pieces)
	some := span{e.Offset + first*tearing, e.Offset + (first+1+random.Int64N(pieces-first))*tearing}
	for _, whole := range l.whole {
		if some.begin > whole.begin && some.begin < whole.end {
			some.begin = max(whole.begin, e.Offset)
		}
		if some.end > whole.begin && some.end < whole.end {
			some.end = min(whole.end, e.Offset+e.Length)
		}
	}
	return Entry{Kind: Write, Offset: some.begin, Length: some.end - some.begin, data: e.data + some.begin - e.Offset}
}
