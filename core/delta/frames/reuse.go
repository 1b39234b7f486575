package frames

import (
	"bytes"
	"cmp"
	"io"
	"math"
	"path/filepath"
	"slices"

	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// reuse is what a file has in common with others that are there when it is made.
type reuse struct {
	runs []run // of its bytes, in order, none over another
	// files are those that have most of its strings, best first.
	files []source
	// copied is how many bytes the runs copy from each.
	copied map[v1.File]uint64
	// ways tell where in other files it goes on, from a position on, in order.
	ways []run
}

// place gives about where in another file a position of this one is; false if nothing tells.
func (r *reuse) place(file v1.File, at uint64) (uint64, bool) {
	n, _ := slices.BinarySearchFunc(r.ways, at, func(x run, at uint64) int { return cmp.Compare(x.at, at+1) })
	for _, x := range slices.Backward(r.ways[:n]) {
		if x.from.file() == file {
			return x.place + at - x.at, true
		}
	}
	return 0, false
}

// run is bytes of a file that are in another one.
type run struct {
	at, length uint64
	from       source
	place      uint64
}

const (
	// copyRunFrom is the length from which a run is copied instead of being packed with the
	// other file at hand. That makes nothing smaller where it is at hand as a whole, but less
	// to pack and to unpack, and blocks that are shared.
	copyRunFrom = 1 << 10
	// foundFiles is how many files are named, at most.
	foundFiles = 4
)

// covers reports whether most of a file of that size is copied from another one.
func (r *reuse) covers(file v1.File, size uint64) bool { return r.copied[file] > size/2 }

// next gives the first run within an extent, as far as it is there; false for none.
func (r *reuse) next(x extent) (run, bool) {
	n, _ := slices.BinarySearchFunc(r.runs, x.offset, func(x run, at uint64) int { return cmp.Compare(x.at+x.length, at+1) })
	if n == len(r.runs) || r.runs[n].at >= x.offset+x.length {
		return run{}, false
	}
	found := r.runs[n]
	if found.at < x.offset {
		cut := x.offset - found.at
		found.at, found.place, found.length = x.offset, found.place+cut, found.length-cut
	}
	found.length = min(found.length, x.offset+x.length-found.at)
	return found, true
}

// nowhere is no place.
var nowhere = place{file: math.MaxUint64}

// search is for what there is of a file already.
type search struct {
	f       *framer
	turn    string // path of the file
	content *block
	open    *opened
	reuse   reuse
	votes   map[uint64]int
	last    place // in the other file at hand, where the position way of this one is
	way     uint64
	covered uint64 // up to here all that is in the last run is known
}

// reuse reads what is in a file whose turn it is, and finds what there is of it already. From
// then on it is, as, one of those in which other files are found; nil for none.
func (f *framer) reuse(turn string, content io.ReaderAt, size uint64, as *source) (*reuse, error) {
	s := &search{f: f, turn: turn, content: &block{file: content, size: size}, open: &opened{trees: f, files: map[uint64]*openedFile{}},
		reuse: reuse{copied: map[v1.File]uint64{}}, votes: map[uint64]int{}, last: nowhere}
	if f.planner.was.Entries == nil || size < stringSize {
		return &s.reuse, nil // each frame of a stream from nothing stands for itself
	}
	defer s.open.close()
	type remembered struct {
		hash, end uint64
	}
	var own []remembered
	err := f.places.scan(f.ctx, io.NewSectionReader(content, 0, int64(size)), func(hash, end uint64) error {
		own = append(own, remembered{hash, end})
		return s.see(hash, end)
	})
	if err != nil {
		return nil, err
	}
	if as != nil {
		number := f.places.number(*as)
		for _, o := range own {
			f.places.remember(o.hash, place{number, o.end})
		}
	}
	s.reuse.files = f.places.best(s.votes, int(size>>(f.places.bits+4)))
	return &s.reuse, nil
}

// see looks a string up.
func (s *search) see(hash, end uint64) error {
	at, from, err := s.find(hash, end)
	if err != nil || from == nil {
		return err
	}
	s.votes[at.file]++
	if end <= s.covered {
		return nil
	}
	x, err := extend(s.content, from, s.covered, end, at.at)
	if err != nil {
		return err
	}
	x.from = s.f.places.files[at.file]
	if s.last.file != at.file || s.last.at-s.way != x.place-x.at {
		s.reuse.ways = append(s.reuse.ways, x)
	}
	s.last, s.way = place{at.file, x.place}, x.at
	s.covered = max(s.covered, x.at+x.length)
	if x.length >= copyRunFrom {
		s.reuse.runs = append(s.reuse.runs, x)
		s.reuse.copied[x.from.file()] += x.length
	}
	return nil
}

// find gives where a string is: in the file at hand where that goes on, else where it was
// seen first; a nil block for nowhere.
func (s *search) find(hash, end uint64) (place, *block, error) {
	if s.last != nowhere && s.last.at+end-s.way >= stringSize {
		from, err := s.open.get(s.last.file, s.turn)
		if err != nil {
			return place{}, nil, err
		}
		on := s.last.at + end - s.way
		same, err := s.same(from, end, on)
		if err != nil || same {
			return place{s.last.file, on}, from, err
		}
	}
	at, ok := s.f.places.found[hash]
	if !ok {
		return place{}, nil, nil
	}
	from, err := s.open.get(at.file, s.turn)
	return at, from, err
}

// same reports whether the strings that end at two positions are the same.
func (s *search) same(from *block, end, place uint64) (bool, error) {
	if place > from.size {
		return false, nil
	}
	a, err := s.content.before(end, stringSize)
	if err != nil {
		return false, err
	}
	b, err := from.before(place, stringSize)
	n := min(len(a), len(b))
	return err == nil && bytes.Equal(a[len(a)-n:], b[len(b)-n:]), err
}

// best gives the files with most votes, and more than a number of them.
func (p *places) best(votes map[uint64]int, more int) []source {
	var numbers []uint64
	for number, n := range votes {
		if n > more {
			numbers = append(numbers, number)
		}
	}
	slices.SortFunc(numbers, func(a, b uint64) int { return cmp.Or(votes[b]-votes[a], cmp.Compare(a, b)) })
	var files []source
	for _, number := range numbers[:min(len(numbers), foundFiles)] {
		files = append(files, p.files[number])
	}
	return files
}

// extend gives the run around a string that ends at two positions: of content, not before a
// limit, and of another file. It has no bytes where the string was another one with the same
// hash.
func extend(content, from *block, limit, end, place uint64) (run, error) {
	x := run{at: end, place: place}
	for x.at > limit && x.place > 0 {
		a, err := content.before(x.at, x.at-limit)
		if err != nil {
			return run{}, err
		}
		b, err := from.before(x.place, uint64(len(a)))
		if err != nil {
			return run{}, err
		}
		a = a[len(a)-len(b):]
		n := equalEnd(a, b)
		x.at, x.place, x.length = x.at-uint64(n), x.place-uint64(n), x.length+uint64(n)
		if n < len(a) {
			break
		}
	}
	for {
		a, err := content.after(x.at + x.length)
		if err != nil {
			return run{}, err
		}
		b, err := from.after(x.place + x.length)
		if err != nil {
			return run{}, err
		}
		n := equal(a, b)
		x.length += uint64(n)
		if n == 0 || n < min(len(a), len(b)) {
			return x, nil
		}
	}
}

// equalEnd gives how many bytes a and b, of one length, end with together.
func equalEnd(a, b []byte) int {
	if bytes.Equal(a, b) {
		return len(a)
	}
	n := 0
	for a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

// block is content of which a block is in memory.
type block struct {
	file  io.ReaderAt
	size  uint64
	bytes []byte
	at    uint64
}

const blockSize = 128 << 10

// load reads the block that a position is in.
func (b *block) load(at uint64) error {
	begin := at / blockSize * blockSize
	if b.bytes != nil && b.at == begin {
		return nil
	}
	if b.bytes == nil {
		b.bytes = make([]byte, 0, min(blockSize, b.size))
	}
	b.at, b.bytes = begin, b.bytes[:min(blockSize, b.size-begin)]
	n, err := b.file.ReadAt(b.bytes, int64(begin))
	if n < len(b.bytes) {
		return cmp.Or(err, io.ErrUnexpectedEOF)
	}
	return nil
}

// after gives bytes from a position on, none at the end. They are good until the next call.
func (b *block) after(at uint64) ([]byte, error) {
	if at >= b.size {
		return nil, nil
	}
	err := b.load(at)
	return b.bytes[at-b.at:], err
}

// before gives at most so many bytes, more than none, that end at a position.
func (b *block) before(end, most uint64) ([]byte, error) {
	if err := b.load(end - 1); err != nil {
		return nil, err
	}
	have := b.bytes[:end-b.at]
	return have[uint64(len(have))-min(uint64(len(have)), most):], nil
}

// opened are files of the trees that were opened to look at them.
type opened struct {
	trees *framer
	files map[uint64]*openedFile
}

type openedFile struct {
	block
	io.Closer
}

// openedMost is how many are open at a time.
const openedMost = 64

// get gives a file as it is when it is the turn of a path, nil if it is not there then.
func (o *opened) get(number uint64, turn string) (*block, error) {
	if file, ok := o.files[number]; ok {
		if file == nil {
			return nil, nil
		}
		return &file.block, nil
	}
	if len(o.files) >= openedMost {
		o.close()
	}
	s := o.trees.places.files[number]
	if there, ok := o.trees.holds(s.entry.Path, turn); !ok || there != s {
		o.files[number] = nil
		return nil, nil
	}
	file, err := openVerified(filepath.Join(s.root, s.entry.Path), &s.entry.Entry)
	if err != nil {
		return nil, err
	}
	o.files[number] = &openedFile{block{file: file, size: s.entry.Size}, file}
	return &o.files[number].block, nil
}

func (o *opened) close() {
	for _, file := range o.files {
		if file != nil {
			file.Close()
		}
	}
	clear(o.files)
}
