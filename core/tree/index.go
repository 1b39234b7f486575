package tree

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sort"
	"sync"
)

// Index is everything that a tree holds, content by its digest. Entries that are known from
// before, and were not read again, have neither Device nor Changed: a mount gives the one
// anew, and not all that moves the other is a change of the tree.
type Index struct {
	// Top is the top directory itself, attributes included.
	Top Entry
	// Entries are all below the top, in the order of a walk.
	Entries []Indexed

	frozen func() [sha256.Size]byte // gives its digest, where that does not change any more
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

// Find gives the entry of a path below the top, nil for none.
func (x *Index) Find(path string) *Indexed {
	i, found := sort.Find(len(x.Entries), func(i int) int { return ComparePaths(path, x.Entries[i].Path) })
	if !found {
		return nil
	}
	return &x.Entries[i]
}

// Join goes through two indexes side by side, in order: each path once, with nil for an
// index that does not have it.
func Join(x, y *Index, visit func(a, b *Indexed)) {
	i, j := 0, 0
	for i < len(x.Entries) || j < len(y.Entries) {
		var order int
		switch {
		case i == len(x.Entries):
			order = 1
		case j == len(y.Entries):
			order = -1
		case x.Entries[i].Path != y.Entries[j].Path:
			order = ComparePaths(x.Entries[i].Path, y.Entries[j].Path)
		}
		var a, b *Indexed
		if order <= 0 {
			a = &x.Entries[i]
			i++
		}
		if order >= 0 {
			b = &y.Entries[j]
			j++
		}
		visit(a, b)
	}
}

// ReadIndex reads the whole tree whose top is the directory path. Errors are those of
// Walk.
func ReadIndex(ctx context.Context, path string) (*Index, error) {
	index := &Index{}
	err := read(ctx, path, func(top *Entry) { index.Top = *top }, func(e *Indexed) { index.Entries = append(index.Entries, *e) })
	if err != nil {
		return nil, err
	}
	return index, nil
}

// read reads a tree and gives its top, and then its entries in order.
func read(ctx context.Context, path string, begin func(top *Entry), each func(*Indexed)) error {
	dir, err := Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	top := dir.Entry()
	if top.Xattrs, err = dir.Xattrs(); err != nil {
		return err
	}
	begin(&top)
	links := linkGroups{}
	return Walk(ctx, nil, dir, Visitor[[sha256.Size]byte]{
		Prepare: hashContent,
		Visit: func(s *Step[[sha256.Size]byte]) error {
			if s.Move != MoveEntry {
				return nil
			}
			e := Indexed{Entry: s.Target.Entry, Content: s.Result}
			if first := links.first(&e.Entry); first != none {
				e.First = first
			}
			each(&e)
			return nil
		},
	})
}

// Digests are both digests of a tree.
type Digests struct {
	Classic string // what the function Digest gives
	Exact   [sha256.Size]byte
}

// ReadDigests reads a tree for both digests at once. Memory is bounded by the number of
// inodes with several names. Errors are those of Walk.
func ReadDigests(ctx context.Context, path string) (Digests, error) {
	d := newDigester()
	if err := read(ctx, path, d.begin, d.add); err != nil {
		return Digests{}, err
	}
	return d.sums(), nil
}

// Digest gives the exact digest of the tree: the SHA-256 of all that tbdiff version 1
// can express. That is what Digest of this package covers, and nanoseconds, hard links
// and the top's own metadata; sockets are left out. docs/format/tree-digest.md specifies it.
func (x *Index) Digest() [sha256.Size]byte {
	if x.frozen != nil {
		return x.frozen()
	}
	return x.digest()
}

// Freeze says that the index will not be changed any more: its digest is made once, beside
// what follows. From then on it may be used by several at a time.
func (x *Index) Freeze() {
	if x.frozen == nil {
		x.frozen = sync.OnceValue(x.digest)
		go x.frozen()
	}
}

func (x *Index) digest() [sha256.Size]byte {
	sum := sha256.New()
	records := appendExact([]byte(exactHeader), &Indexed{Entry: x.Top})
	for i := range x.Entries {
		if e := &x.Entries[i]; e.Kind() != KindSocket {
			records = appendExact(records, e)
		}
		if len(records) >= 1<<16 {
			sum.Write(records)
			records = records[:0]
		}
	}
	sum.Write(records)
	return [sha256.Size]byte(sum.Sum(nil))
}

// exactHeader begins what the exact digest hashes.
const exactHeader = "trebuchet tree digest 2\n"

// digester makes both digests.
type digester struct {
	classic, exact hash.Hash
	record         []byte
}

func newDigester() *digester {
	d := &digester{classic: sha256.New(), exact: sha256.New()}
	d.classic.Write([]byte(digestHeader))
	d.exact.Write([]byte(exactHeader))
	return d
}

func (d *digester) begin(top *Entry) {
	d.record = appendExact(d.record[:0], &Indexed{Entry: *top})
	d.exact.Write(d.record)
}

func (d *digester) add(e *Indexed) {
	if e.Kind() == KindSocket {
		return
	}
	d.record = appendRecord(d.record[:0], &e.Entry, e.Content)
	d.classic.Write(d.record)
	d.record = appendExact(d.record[:0], e)
	d.exact.Write(d.record)
}

func (d *digester) sums() Digests {
	return Digests{Classic: formatDigest(d.classic), Exact: [sha256.Size]byte(d.exact.Sum(nil))}
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
