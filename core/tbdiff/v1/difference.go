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
func (u *Unpacker) unpackDifference(stored, source []byte, size uint64, room []byte) ([]byte, error) {
	packed, err := differenceSize(stored, size)
	if err != nil {
		return nil, err
	}
	b, err := u.unpackZstd(stored, nil, packed, u.packed)
	if err != nil {
		return nil, err
	}
	u.packed = Room(u.packed, b)
	f := &fields{rest: b}
	steps := f.most(size+1, "the number of steps")
	again := *f
	var added, inserted uint64
	for n := steps; n > 0 && f.fault == nil; n-- {
		t := f.triple(size - added - inserted)
		added, inserted = added+t.Add, inserted+t.Insert
	}
	if f.fault == nil && added+inserted != size {
		f.fail("a difference that makes %d bytes instead of %d", added+inserted, size)
	}
	add, insert := f.take(added), f.take(inserted)
	f.end("difference")
	if f.fault != nil {
		return nil, f.fault
	}
	return applyTriples(roomFor(size, room), &again, steps, source, add, insert)
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

// triple reads a step, which makes at most so many bytes.
func (f *fields) triple(most uint64) (t Triple) {
	t.Add = f.most(most, "a step's bytes")
	t.Insert = f.most(most-t.Add, "a step's bytes")
	t.Seek = f.varint()
	return t
}

// applyTriples appends the content to b, whose room it fits into. The steps were read once already.
func applyTriples(b []byte, f *fields, steps uint64, source, add, insert []byte) ([]byte, error) {
	var at uint64
	for range steps {
		t := f.triple(uint64(cap(b) - len(b)))
		if at > uint64(len(source)) || t.Add > uint64(len(source))-at {
			return nil, malformed("a step reads %d bytes from byte %d of a source of %d", t.Add, at, len(source))
		}
		made := len(b)
		b = b[:made+int(t.Add)]
		sum(b[made:], source[at:], add)
		add = add[t.Add:]
		b = append(b, insert[:t.Insert]...)
		insert = insert[t.Insert:]
		at += t.Add + uint64(t.Seek) // what lies outside of the source is found when it is read
	}
	return b, nil
}

// sum fills to with the sums of x and y, byte by byte.
func sum(to, x, y []byte) {
	const low = 0x7f7f7f7f7f7f7f7f // all but the upper bit of each byte, which would carry
	for ; len(to) >= 8; to, x, y = to[8:], x[8:], y[8:] {
		a, b := binary.LittleEndian.Uint64(x), binary.LittleEndian.Uint64(y)
		binary.LittleEndian.PutUint64(to, (a&low+b&low)^(a^b)&^low)
	}
	for i := range to {
		to[i] = x[i] + y[i]
	}
}
