package v1

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// fields takes a section apart. The first fault sticks; after it every field is zero.
type fields struct {
	rest  []byte
	fault error
}

func (f *fields) fail(format string, arguments ...any) {
	if f.fault == nil {
		f.fault = fmt.Errorf("%w: "+format, append([]any{tbdiff.ErrMalformed}, arguments...)...)
	}
}

// refuse is fail for an error that a check gave.
func (f *fields) refuse(err error) {
	if f.fault == nil {
		f.fault = err
	}
}

// take gives the next n bytes, nil when there are fewer. They are part of the section.
func (f *fields) take(n uint64) []byte {
	if f.fault != nil {
		return nil
	}
	if n > uint64(len(f.rest)) {
		f.fail("a field has %d bytes, and %d are left of its section", n, len(f.rest))
		return nil
	}
	taken := f.rest[:n:n]
	f.rest = f.rest[n:]
	return taken
}

func (f *fields) byte() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) uvarint() uint64 {
	if f.fault != nil {
		return 0
	}
	value, n := binary.Uvarint(f.rest)
	if n <= 0 || n > 1 && f.rest[n-1] == 0 {
		f.fail("a number is cut off, too large or longer than it needs to be")
		return 0
	}
	f.rest = f.rest[n:]
	return value
}

// most is uvarint for a number that has a limit.
func (f *fields) most(limit uint64, what string) uint64 {
	value := f.uvarint()
	if value > limit {
		f.fail("%s is %d, and at most %d", what, value, limit)
		return 0
	}
	return value
}

// count is uvarint for the length of a list, each of whose members takes a byte at
// least: so memory follows what is there.
func (f *fields) count(what string) int {
	return int(f.most(uint64(len(f.rest)), "the number of "+what))
}

func (f *fields) varint() int64 {
	value := f.uvarint()
	return int64(value>>1) ^ -int64(value&1)
}

// offset reads one that is noted as its distance from another.
func (f *fields) offset(from uint64) uint64 {
	distance := f.varint()
	at := from + uint64(distance)
	if at > math.MaxInt64 || (distance < 0) != (at < from) {
		f.fail("an offset lies outside of any file")
		return 0
	}
	return at
}

func (f *fields) string(limit uint64, what string) string {
	return string(f.take(f.most(limit, "the length of "+what)))
}

func (f *fields) digest() (d Digest) {
	copy(d[:], f.take(uint64(len(d))))
	return d
}

// paths reads a list of paths.
type paths struct{ last string }

func (p *paths) next(f *fields) string {
	shared := f.most(uint64(len(p.last)), "what a path has in common with the one before")
	path := p.last[:shared] + f.string(MaxPath, "a path")
	f.refuse(CheckPath(path))
	p.last = path
	return path
}

func appendVarint(b []byte, value int64) []byte {
	return binary.AppendUvarint(b, uint64(value)<<1^uint64(value>>63))
}

func appendOffset(b []byte, at, from uint64) []byte { return appendVarint(b, int64(at-from)) }

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// append appends a path to a list.
func (p *paths) append(b []byte, path string) []byte {
	shared := 0
	for shared < len(path) && shared < len(p.last) && path[shared] == p.last[shared] {
		shared++
	}
	p.last = path
	return appendString(binary.AppendUvarint(b, uint64(shared)), path[shared:])
}
