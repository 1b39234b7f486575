package v1

import (
	"encoding/binary"
)

// Triple is a step of a difference: Add bytes are sums of the source's and of those to
// add, Insert bytes follow, and then the position in the source moves on by Add and
// Seek.
type Triple struct {
	Add, Insert uint64
	Seek        int64
}

// AppendDifference gives what is packed for the method Difference, of the steps and
// of all bytes to add and to insert.
func AppendDifference(b []byte, triples []Triple, add, insert []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(triples)))
	for _, t := range triples {
		b = appendVarint(binary.AppendUvarint(binary.AppendUvarint(b, t.Add), t.Insert), t.Seek)
	}
	return append(append(b, add...), insert...)
}

// maxTriple is what one step takes at the most: three numbers.
const maxTriple = 3 * binary.MaxVarintLen64

// unpackDifference makes the content of a difference and its source.
func unpackDifference(stored, source []byte, size uint64, room []byte) ([]byte, error) {
	packed, err := differenceSize(stored, size)
	if err != nil {
		return nil, err
	}
	b, err := unpackZstd(stored, nil, packed, nil)
	if err != nil {
		return nil, err
	}
	f := &fields{rest: b}
	triples, added, inserted := decodeTriples(f, size)
	if f.fault == nil && added+inserted != size {
		f.fail("a difference that makes %d bytes instead of %d", added+inserted, size)
	}
	add, insert := f.take(added), f.take(inserted)
	f.end("difference")
	if f.fault != nil {
		return nil, f.fault
	}
	return applyTriples(roomFor(size, room), triples, source, add, insert)
}

// differenceSize reads how large a packed difference says that it is, and refuses one
// that is larger than a difference with this result can be.
func differenceSize(stored []byte, size uint64) (uint64, error) {
	header, err := readZstdHeader(stored)
	if err != nil {
		return 0, err
	}
	// A step that makes nothing only moves: there is no need for two in a row.
	if limit := size + (size+1)*maxTriple + binary.MaxVarintLen64; header > min(limit, size+MaxCommands) {
		return 0, malformed("a difference of %d bytes for %d of content", header, size)
	}
	return header, nil
}

func decodeTriples(f *fields, size uint64) (triples []Triple, added, inserted uint64) {
	for n := f.most(size+1, "the number of steps"); n > 0 && f.fault == nil; n-- {
		t := Triple{Add: f.most(size-added-inserted, "a step's bytes")}
		added += t.Add
		t.Insert = f.most(size-added-inserted, "a step's bytes")
		inserted += t.Insert
		t.Seek = f.varint()
		triples = append(triples, t)
	}
	return triples, added, inserted
}

// applyTriples appends the content to b, whose room it fits into.
func applyTriples(b []byte, triples []Triple, source, add, insert []byte) ([]byte, error) {
	var at uint64
	for _, t := range triples {
		if at > uint64(len(source)) || t.Add > uint64(len(source))-at {
			return nil, malformed("a step reads %d bytes from byte %d of a source of %d", t.Add, at, len(source))
		}
		for i, d := range add[:t.Add] {
			b = append(b, source[at+uint64(i)]+d)
		}
		add = add[t.Add:]
		b = append(b, insert[:t.Insert]...)
		insert = insert[t.Insert:]
		at += t.Add + uint64(t.Seek) // what lies outside of the source is found when it is read
	}
	return b, nil
}
