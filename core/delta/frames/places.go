package frames

import (
	"context"
	"io"
	"math/bits"

	"github.com/trebuchet-update/tbupdate/core/tree"
)

// places remembers where strings of files are, so that they are found again wherever they
// went: further on in the same file, or in another one. A string is remembered when its hash
// says so, which depends on its bytes alone; so what stands between such places may come and
// go, and the places stay.
type places struct {
	files []source
	// found is where a string ends, by its hash: the first place that was read.
	found map[uint64]place
	bits  int // the mean distance of places is this power of two

	buffer []byte // of a scan
}

// place is a position in a file, by its number in the list.
type place struct{ file, at uint64 }

const (
	// stringSize is the length of the strings: bytes that were pushed out of the hash.
	stringSize = 64
	// leastBits is the distance in trees of usual size. In larger ones places are so rare
	// that there are about mostPlaces.
	leastBits  = 9
	mostPlaces = 2 << 20
)

// newPlaces is for so many bytes to read.
func newPlaces(total uint64) *places {
	return &places{found: map[uint64]place{}, bits: max(leastBits, bits.Len64(total/mostPlaces)), buffer: make([]byte, 64<<10)}
}

// add remembers the places of a file.
func (p *places) add(ctx context.Context, s source, read io.Reader) error {
	number := p.number(s)
	return p.scan(ctx, read, func(hash, end uint64) error {
		p.remember(hash, place{number, end})
		return nil
	})
}

func (p *places) number(s source) uint64 {
	p.files = append(p.files, s)
	return uint64(len(p.files) - 1)
}

func (p *places) remember(hash uint64, at place) {
	if _, ok := p.found[hash]; !ok {
		p.found[hash] = at
	}
}

// scan calls see with the hash of each string that is to be remembered or looked up, and where
// it ends.
func (p *places) scan(ctx context.Context, read io.Reader, see func(hash, end uint64) error) error {
	shift := 64 - p.bits
	var hash, at uint64
	for {
		n, err := read.Read(p.buffer)
		for _, b := range p.buffer[:n] {
			hash = hash<<1 + mixed[b]
			at++
			if hash>>shift == 0 && at >= stringSize {
				if err := see(hash, at); err != nil {
					return err
				}
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
}

// mixed has a number for each byte, with bits as good as random.
var mixed = func() (table [256]uint64) {
	state := uint64(0)
	for i := range table { // splitmix64 (Steele, Lea and Flood, 2014)
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		table[i] = z ^ z>>31
	}
	return table
}()

// worthPlaces reports whether places of a file are worth remembering: its content is not at this
// path in the other tree.
func worthPlaces(e, other *tree.Indexed) bool {
	if e == nil || e.Kind() != tree.KindFile || e.First != "" || e.Size < stringSize {
		return false
	}
	return other == nil || other.Kind() != tree.KindFile || other.Content != e.Content
}

// readBytes is how many bytes are read for places: of files that are worth it, and of those that
// are made.
func readBytes(pairs []pair) (sum uint64) {
	for _, at := range pairs {
		if worthPlaces(at.old, at.new) {
			sum += at.old.Size
		}
		if worthPlaces(at.new, at.old) {
			sum += at.new.Size
		}
	}
	return sum
}
