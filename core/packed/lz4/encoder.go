package lz4

import (
	"encoding/binary"
	"math/bits"
)

// The format of blocks (lz4: doc/lz4_Block_format.md).
const (
	leastMatch   = 4     // bytes of the shortest match
	farthest     = 65535 // distance of a match
	lastLiterals = 5     // bytes at the end of a block that are in no match
	lastStart    = 12    // bytes from the end of the last position at which a match begins
	runMask      = 15    // lengths from which on more bytes follow
)

// The choices of level 9.
const (
	hashBits = 15
	attempts = 256 // candidates that are looked at
	// optimal is the length of a match that still fits into a token: what is longer costs
	// another byte, so a match is cut to this where the next one begins in it.
	optimal = runMask - 1 + leastMatch
)

// first is the number of a block's first position. Positions are numbered so that 0, which
// is what the tables begin with, is too far from all of them.
const first = farthest + 1

// encoder packs blocks one after the other, each while it is still coming.
//
// What the format leaves open is which matches are taken. The choices here are those of the
// reference implementation (lz4 1.9: LZ4HC_compress_hashChain), so they cannot be made better
// without being made useless.
type encoder struct {
	// more waits for more of the block than had bytes. It gives what there is of it, always in the same
	// memory, and whether that is all.
	more   func(had int) (src []byte, whole bool)
	src    []byte
	whole  bool
	latest [1 << hashBits]uint32 // number of the last position, by the hash of four bytes
	before [1 << 16]uint16       // distance to the last one with this hash, by the position's number
	next   uint32                // number of the position that is to be put into the tables next
}

// match is a copy of length bytes from position ref to position at.
type match struct{ at, ref, length int }

// append appends what the next block packs to, from what more has given of it on.
func (e *encoder) append(dst []byte) []byte {
	e.next = first
	clear(e.latest[:])
	done := 0 // what is written already
	write := func(m match) {
		dst = appendSequence(dst, e.src[done:m.at], m.at-m.ref, m.length)
		done = m.at + m.length
	}
	for at := 0; e.begins(at); {
		one := e.longest(at, at, leastMatch-1)
		if one.length < leastMatch {
			at++
			continue
		}
		e.choose(one, write)
		at = done
	}
	return appendLiterals(dst, e.src[done:])
}

func (e *encoder) wait() { e.src, e.whole = e.more(len(e.src)) }

// begins says whether a match may begin at a position.
func (e *encoder) begins(at int) bool {
	for at > len(e.src)-lastStart && !e.whole {
		e.wait()
	}
	return at <= len(e.src)-lastStart
}

// common counts the bytes that are the same from two positions on, of which a is the later one,
// as far as a match may reach.
func (e *encoder) common(a, b int) int {
	n := common(e.src, a, b, len(e.src)-lastLiterals)
	for a+n == len(e.src)-lastLiterals && !e.whole {
		e.wait()
		n += common(e.src, a+n, b+n, len(e.src)-lastLiterals)
	}
	return n
}

// choose writes matches from one on, until one ends behind which nothing better begins. It
// looks two matches ahead.
func (e *encoder) choose(one match, write func(match)) {
	skipped := one // the match that one was in the place of, as it was
	for {
		two := match{length: one.length}
		if e.begins(one.at + one.length) {
			two = e.longest(one.at+one.length-2, one.at, one.length)
		}
		if two.length == one.length {
			write(one)
			return
		}
		if skipped.at < one.at && two.at < one.at+skipped.length {
			one = skipped // fits before the second one after all
		}
		if two.at-one.at < 3 { // too little of the first one would be left
			one = two
			continue
		}
		following, ok := e.chooseThree(&one, two, write)
		if !ok {
			return
		}
		skipped = following
	}
}

// chooseThree writes matches, of which there are two at least and the second is longer than the
// first, as long as there is a third one that is longer still. It ends with ok where the first
// was written, the second one is of no use, and the third is in the place of one; it gives
// the second.
func (e *encoder) chooseThree(one *match, two match, write func(match)) (second match, ok bool) {
	for {
		shorten(*one, &two)
		three := match{length: two.length}
		if e.begins(two.at + two.length) {
			three = e.longest(two.at+two.length-3, two.at, two.length)
		}
		if three.length == two.length {
			one.length = min(one.length, two.at-one.at)
			write(*one)
			write(two)
			return match{}, false
		}
		end := one.at + one.length
		if three.at < end+3 { // no room for the second one
			if three.at < end {
				two = three
				continue
			}
			if two.at < end {
				two.skip(end - two.at)
				if two.length < leastMatch {
					two = three
				}
			}
			write(*one)
			*one = three
			return two, true
		}
		if two.at < end {
			if two.at-one.at < optimal {
				one.length = shorten(*one, &two)
			} else {
				one.length = two.at - one.at
			}
		}
		write(*one)
		*one, two = two, three
	}
}

// shorten takes from the beginning of the second match what the first one has of it, as far as
// that costs nothing, and gives the length of the first.
func shorten(one match, two *match) int {
	if two.at-one.at >= optimal {
		return one.length
	}
	length := min(one.length, optimal, two.at-one.at+two.length-leastMatch)
	if over := length - (two.at - one.at); over > 0 {
		two.skip(over)
	}
	return length
}

// skip takes n bytes from the beginning of a match.
func (m *match) skip(n int) {
	m.at += n
	m.ref += n
	m.length -= n
}

// longest finds the first of the longest matches that has the position at in it, begins at low
// at the earliest, and is longer than least: of that length if there is none.
func (e *encoder) longest(at, low, least int) match {
	e.insert(at)
	src := e.src[:cap(e.src)] // it may become longer in between
	best := match{length: least}
	number := uint32(at + first)
	lowest := max(number-farthest, first)
	pattern := binary.LittleEndian.Uint32(src[at:])
	repeats := pattern == uint32(src[at])*0x01010101
	run := 0 // bytes from at on that are all the same, 0 for not counted yet
	candidate := e.latest[hashOf(pattern)]
	for tries := attempts; candidate >= lowest && tries > 0; tries-- {
		ref := int(candidate - first)
		// Whether it is longer is seen first where it would have to be.
		if end := low + best.length - 1; src[end] == src[ref-(at-low)+best.length-1] && src[end+1] == src[ref-(at-low)+best.length] &&
			binary.LittleEndian.Uint32(src[ref:]) == pattern {
			back := 0
			for at-back > low && ref-back > 0 && src[at-back-1] == src[ref-back-1] {
				back++
			}
			if length := back + leastMatch + e.common(at+leastMatch, ref+leastMatch); length > best.length {
				best = match{at - back, ref - back, length}
			}
		}
		distance := uint32(e.before[uint16(candidate)])
		if distance != 1 || !repeats || candidate-1 < lowest || binary.LittleEndian.Uint32(src[ref-1:]) != pattern {
			candidate -= distance
			continue
		}
		// Both are in runs of one byte: go to where the run of the candidate is as long.
		if run == 0 {
			run = 1 + e.common(at+1, at)
		}
		ref--
		forward := 1 + e.common(ref+1, ref)
		backward := 0
		for most := int(candidate - 1 - lowest); backward < most && src[ref-backward-1] == src[at]; {
			backward++
		}
		if backward+forward >= run && forward <= run {
			candidate = uint32(ref + forward - run + first)
			continue
		}
		candidate = uint32(ref - backward + first)
		if low < at {
			continue
		}
		if length := min(backward+forward, run); length > best.length {
			best = match{at, ref - backward, length}
		}
		distance = uint32(e.before[uint16(candidate)])
		candidate -= distance
	}
	return best
}

// insert puts the positions before at into the tables.
func (e *encoder) insert(at int) {
	end := uint32(at + first)
	for n := e.next; n < end; n++ {
		hash := hashOf(binary.LittleEndian.Uint32(e.src[n-first:]))
		e.before[uint16(n)] = uint16(min(n-e.latest[hash], farthest))
		e.latest[hash] = n
	}
	e.next = max(e.next, end)
}

func hashOf(four uint32) uint32 { return four * 2654435761 >> (32 - hashBits) }

// common counts the bytes that are the same from two positions on, the first of which goes up
// to limit.
func common(src []byte, a, b, limit int) int {
	start := a
	for a+8 <= limit {
		if diff := binary.LittleEndian.Uint64(src[a:]) ^ binary.LittleEndian.Uint64(src[b:]); diff != 0 {
			return a - start + bits.TrailingZeros64(diff)/8
		}
		a, b = a+8, b+8
	}
	for a < limit && src[a] == src[b] {
		a, b = a+1, b+1
	}
	return a - start
}

// appendSequence appends literals and a match.
func appendSequence(dst, literals []byte, distance, length int) []byte {
	token := len(dst)
	dst = appendLiterals(dst, literals)
	dst = append(dst, byte(distance), byte(distance>>8))
	if length -= leastMatch; length < runMask {
		dst[token] |= byte(length)
		return dst
	}
	dst[token] |= runMask
	return appendLength(dst, length-runMask)
}

// appendLiterals appends literals with their token.
func appendLiterals(dst, literals []byte) []byte {
	if len(literals) < runMask {
		dst = append(dst, byte(len(literals)<<4))
	} else {
		dst = appendLength(append(dst, runMask<<4), len(literals)-runMask)
	}
	return append(dst, literals...)
}

// appendLength appends what a token has no room for.
func appendLength(dst []byte, n int) []byte {
	for ; n >= 255; n -= 255 {
		dst = append(dst, 255)
	}
	return append(dst, byte(n))
}
