package tree

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// storedHeader begins an index that is kept in a file, which is for the program that wrote
// it: there is no promise that another version reads it.
const storedHeader = "trebuchet tree index 2\n"

// ErrNoIndex is the error of ReadStored for what is not a whole index, as this version
// writes them.
var ErrNoIndex = errors.New("it is not a whole index of this version")

// Store writes the index and its digest, and last what tells ReadStored that it is whole.
func (x *Index) Store(w io.Writer) error {
	sum := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<20)
	digest := x.Digest()
	record := appendStored(append([]byte(storedHeader), digest[:]...), &Indexed{Entry: x.Top})
	record = binary.AppendUvarint(record, uint64(len(x.Entries)))
	if _, err := buffered.Write(record); err != nil {
		return err
	}
	for i := range x.Entries {
		record = appendStored(record[:0], &x.Entries[i])
		if _, err := buffered.Write(record); err != nil {
			return err
		}
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// storedLeast is the size of the smallest entry: what it has is one byte at least each.
const storedLeast = 13

// appendStored appends an entry: numbers as unsigned varints, strings after their length.
func appendStored(b []byte, e *Indexed) []byte {
	for _, s := range []string{e.Path, e.Target, e.First} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	for _, n := range []uint64{
		uint64(e.Mode), uint64(e.UID), uint64(e.GID), uint64(e.Modified.Seconds), uint64(e.Modified.Nanoseconds),
		e.Size, e.Rdev, uint64(e.Links), e.Inode, uint64(len(e.Xattrs)),
	} {
		b = binary.AppendUvarint(b, n)
	}
	for _, x := range e.Xattrs {
		b = append(binary.AppendUvarint(b, uint64(len(x.Name))), x.Name...)
		b = append(binary.AppendUvarint(b, uint64(len(x.Value))), x.Value...)
	}
	if e.Kind() == KindFile {
		b = append(b, e.Content[:]...)
	}
	return b
}

// ReadStored reads what Store wrote, as a frozen index of entries known from before. Anything
// else is an ErrNoIndex.
func ReadStored(content []byte) (*Index, error) {
	body, ok := bytes.CutPrefix(content, []byte(storedHeader))
	if !ok || len(body) < 2*sha256.Size {
		return nil, ErrNoIndex
	}
	end := len(content) - sha256.Size
	if sha256.Sum256(content[:end]) != [sha256.Size]byte(content[end:]) {
		return nil, ErrNoIndex
	}
	digest := [sha256.Size]byte(body)
	records := body[len(digest) : len(body)-sha256.Size]
	r := &storedReader{whole: string(records), rest: records}
	x := &Index{Top: r.entry().Entry, frozen: func() [sha256.Size]byte { return digest }}
	count := r.number(uint64(len(r.rest)) / storedLeast)
	x.Entries = make([]Indexed, 0, count)
	for range count {
		if x.Entries = append(x.Entries, r.entry()); r.err != nil {
			return nil, r.err
		}
	}
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("%w: %d bytes follow its end", ErrNoIndex, len(r.rest))
	}
	if r.err != nil {
		return nil, r.err
	}
	return x, nil
}

// storedReader takes an index apart. After an error it gives nothing.
type storedReader struct {
	whole string // which rest is the end of
	rest  []byte
	err   error
}

// number gives the next number, which is at most so large.
func (r *storedReader) number(limit uint64) uint64 {
	n, size := binary.Uvarint(r.rest)
	if r.err != nil || size <= 0 || n > limit {
		r.rest, r.err = nil, ErrNoIndex
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *storedReader) bytes(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.rest, r.err = nil, ErrNoIndex
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

// text gives a string, as a part of the one string: there are too many to make each anew.
func (r *storedReader) text() string {
	n := r.number(math.MaxInt32)
	at := len(r.whole) - len(r.rest)
	if r.bytes(n) == nil {
		return ""
	}
	return r.whole[at:][:n]
}

func (r *storedReader) entry() Indexed {
	var e Indexed
	e.Path, e.Target, e.First = r.text(), r.text(), r.text()
	e.Mode, e.UID, e.GID = uint32(r.number(math.MaxUint32)), uint32(r.number(math.MaxUint32)), uint32(r.number(math.MaxUint32))
	e.Modified = Time{int64(r.number(math.MaxUint64)), uint32(r.number(math.MaxUint32))}
	e.Size, e.Rdev = r.number(math.MaxUint64), r.number(math.MaxUint64)
	e.Links, e.Inode = uint32(r.number(math.MaxUint32)), r.number(math.MaxUint64)
	for range r.number(uint64(len(r.rest))) {
		e.Xattrs = append(e.Xattrs, Xattr{Name: r.text(), Value: bytes.Clone(r.bytes(r.number(math.MaxInt32)))})
	}
	if e.Kind() == KindFile {
		copy(e.Content[:], r.bytes(uint64(len(e.Content))))
	}
	return e
}
