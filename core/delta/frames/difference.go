package frames

import (
	"encoding/binary"
	"math/bits"

	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// A difference is made of alignments of the content with the source: runs in which most
// bytes are the same at a fixed distance. Programs are like that when the addresses in
// them have moved: the sums of what is added are zeros and the same few numbers, which pack
// well. Where alignments begin is told by anchors, strings that are in both. How far they
// go, by counting: as long as more bytes are the same than not. (The idea is Percival's,
// "Naive differences of executable code", 2003; he finds anchors by sorting suffixes, which
// takes too much memory here.)

const (
	// anchorSize is the shortest string that is looked up.
	anchorSize = 16
	// anchorStep is the distance of places in the source that can be found.
	anchorStep = 8
	// anchorSight is over how many bytes two alignments are compared, and anchorWorth in
	// how many more the new one must agree.
	anchorSight = 64
	anchorWorth = 12
)

// anchors finds strings of a source.
type anchors struct {
	source []byte
	table  []int32 // position + 1 by hash
	shift  int
}

func newAnchors(source []byte) *anchors {
	size := bits.Len(uint(len(source)/anchorStep)) + 1
	a := &anchors{source: source, table: make([]int32, 1<<size), shift: 64 - size}
	for at := 0; at+anchorSize <= len(source); at += anchorStep {
		// The first place of a string stays: a long run of one byte has its beginning.
		if slot := &a.table[a.hash(source[at:])]; *slot == 0 {
			*slot = int32(at) + 1
		}
	}
	return a
}

func (a *anchors) hash(b []byte) uint64 {
	const odd1, odd2 = 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f
	return (binary.LittleEndian.Uint64(b)*odd1 ^ binary.LittleEndian.Uint64(b[8:])*odd2) * odd1 >> a.shift
}

// find gives a place in the source where the content at a position goes on equally, and
// for how long, with what is before it down to a limit; 0 bytes for none.
func (a *anchors) find(content []byte, at, limit int) (begin, place, length int) {
	slot := a.table[a.hash(content[at:])]
	if slot == 0 {
		return 0, 0, 0
	}
	place = int(slot) - 1
	n := equal(content[at:], a.source[place:])
	if n < anchorSize {
		return 0, 0, 0
	}
	back := 0
	for back < at-limit && back < place && content[at-back-1] == a.source[place-back-1] {
		back++
	}
	return at - back, place - back, n + back
}

// equal gives how many bytes a and b begin with together.
func equal(a, b []byte) int {
	n := min(len(a), len(b))
	for i := 0; i < n; i += 8 {
		if n-i >= 8 {
			if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
				return i + bits.TrailingZeros64(x)/8
			}
			continue
		}
		for ; i < n; i++ {
			if a[i] != b[i] {
				return i
			}
		}
	}
	return n
}

// alignment says that the content from at on goes with the source from place on.
type alignment struct{ at, place int }

// align gives alignments of the content in order, each up to the next.
func align(content, source []byte) []alignment {
	if len(source) < anchorSize {
		return nil
	}
	a := newAnchors(source)
	var found []alignment
	limit := 0 // before it all is aligned
	for at := 0; at+anchorSize <= len(content); {
		begin, place, length := a.find(content, at, limit)
		if length == 0 {
			at++
			continue
		}
		if n := len(found); n == 0 || found[n-1].loses(content, source, begin, place) {
			found = append(found, alignment{begin, place})
		}
		at = begin + length
		limit = at
	}
	return found
}

// loses reports whether the content from at on agrees better with the source from place on
// than it does by this alignment.
func (x alignment) loses(content, source []byte, at, place int) bool {
	now := x.place + at - x.at
	if now == place {
		return false
	}
	return agreement(content[at:], source[place:]) >= agreement(content[at:], source[min(now, len(source)):])+anchorWorth
}

// agreement counts the bytes that are the same within sight.
func agreement(content, source []byte) int {
	same := 0
	for i := range min(len(content), len(source), anchorSight) {
		if content[i] == source[i] {
			same++
		}
	}
	return same
}

// difference gives what is packed for the method of that name.
func difference(content, source []byte) []byte {
	var triples []v1.Triple
	var add, insert []byte
	alignments := align(content, source)
	position := 0 // in the source, as the reader has it
	at := 0       // content before it is made
	first := len(content)
	if len(alignments) > 0 {
		first = alignments[0].at - backward(content, source, alignments[0], 0)
	}
	if first > 0 {
		triples = append(triples, v1.Triple{Insert: uint64(first)})
		insert = append(insert, content[:first]...)
		at = first
	}
	for i, x := range alignments {
		end := len(content)
		if i+1 < len(alignments) {
			end = alignments[i+1].at
		}
		place := x.place - (x.at - at)
		length := forward(content[at:end], source[place:])
		next := end
		if i+1 < len(alignments) {
			next = end - backward(content, source, alignments[i+1], at+length)
		}
		last := &v1.Triple{}
		if len(triples) > 0 {
			last = &triples[len(triples)-1]
			last.Seek = int64(place - position)
		} else if place != 0 {
			triples = append(triples, v1.Triple{Seek: int64(place)})
		}
		for j, b := range content[at : at+length] {
			add = append(add, b-source[place+j])
		}
		insert = append(insert, content[at+length:next]...)
		triples = append(triples, v1.Triple{Add: uint64(length), Insert: uint64(next - at - length)})
		position, at = place+length, next
	}
	return v1.AppendDifference(nil, triples, add, insert)
}

// forward gives for how long content and source agree in more bytes than not, counted from
// their beginnings.
func forward(content, source []byte) int {
	n := min(len(content), len(source))
	best, length, same := 0, 0, 0
	for i := range n {
		if content[i] == source[i] {
			same++
		}
		if score := 2*same - (i + 1); score > best {
			best, length = score, i+1
		}
	}
	return length
}

// backward gives the same for what is before an alignment, down to a limit.
func backward(content, source []byte, x alignment, limit int) int {
	n := min(x.at-limit, x.place)
	best, length, same := 0, 0, 0
	for i := 1; i <= n; i++ {
		if content[x.at-i] == source[x.place-i] {
			same++
		}
		if score := 2*same - i; score > best {
			best, length = score, i
		}
	}
	return length
}
