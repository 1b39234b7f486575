package tree

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
)

// Index is everything that a tree holds, content by its digest.
type Index struct {
	// Top is the top directory itself, attributes included.
	Top Entry
	// Entries are all below the top, in the order of a walk.
	Entries []Indexed
}

// Indexed is an entry of an Index.
type Indexed struct {
	Entry
	// Content is the SHA-256 of a plain file's content, zero for other kinds.
	Content [sha256.Size]byte
	// First is the path of the first entry that is the same inode, "" for an entry that
	// is the first itself.
	First string
}

// ReadIndex reads the whole tree whose top is the directory path. Errors are those of
// Walk.
func ReadIndex(ctx context.Context, path string) (*Index, error) {
	top, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	index := &Index{Top: top.Entry()}
	if index.Top.Xattrs, err = top.Xattrs(); err != nil {
		return nil, err
	}
	links := linkGroups{}
	err = Walk(ctx, nil, top, Visitor[[sha256.Size]byte]{
		Prepare: hashContent,
		Visit: func(s *Step[[sha256.Size]byte]) error {
			if s.Move != MoveEntry {
				return nil
			}
			e := &s.Target.Entry
			it := Indexed{Entry: *e, Content: s.Result}
			if first := links.first(e); first != none {
				it.First = first
			}
			index.Entries = append(index.Entries, it)
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return index, nil
}

// ClassicDigest gives what the function Digest gives for the same tree.
func (x *Index) ClassicDigest() string {
	sum := sha256.New()
	sum.Write([]byte(digestHeader))
	var record []byte
	for i := range x.Entries {
		if e := &x.Entries[i]; e.Kind() != KindSocket {
			record = appendRecord(record[:0], &e.Entry, e.Content)
			sum.Write(record)
		}
	}
	return formatDigest(sum)
}

// exactHeader begins what Index.Digest hashes.
const exactHeader = "trebuchet tree digest 2\n"

// Digest gives the SHA-256 of all that tbdiff version 1 can express of the tree: what
// Digest of this package covers, and nanoseconds, hard links and the top's own metadata. Sockets are left out.
// docs/format/tree-digest.md specifies it.
func (x *Index) Digest() [sha256.Size]byte {
	sum := sha256.New()
	sum.Write([]byte(exactHeader))
	record := appendExact(nil, &Indexed{Entry: x.Top})
	sum.Write(record)
	for i := range x.Entries {
		if x.Entries[i].Kind() != KindSocket {
			record = appendExact(record[:0], &x.Entries[i])
			sum.Write(record)
		}
	}
	return [sha256.Size]byte(sum.Sum(nil))
}

// appendExact appends what the exact digest hashes of one entry.
func appendExact(b []byte, e *Indexed) []byte {
	b = appendSized(b, e.First)
	if e.First != "" {
		return appendSized(b, e.Path) // it is the same in all else
	}
	b = appendRecord(b, &e.Entry, e.Content)
	return binary.LittleEndian.AppendUint32(b, e.Modified.Nanoseconds)
}
