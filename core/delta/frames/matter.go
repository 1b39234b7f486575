package frames

import (
	"cmp"
	"path/filepath"

	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
	"github.com/trebuchet-update/tbupdate/core/tree"
)

// parts reads the content of a file into frames. It gives the parts that belong into
// the frame that is then at hand.
func (f *framer) parts(e *tree.Indexed) ([]v1.Part, error) {
	file, err := openVerified(filepath.Join(f.trees[f.planner.is], e.Path), &e.Entry)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if e.Size >= repackFrom {
		if parts, ok, err := f.repacked(e, file); ok || err != nil {
			return parts, cmp.Or(err, file.verify())
		}
	}
	extents, err := file.extents()
	if err != nil {
		return nil, err
	}
	if err := f.makeRoom(e); err != nil {
		return nil, err
	}
	m := &matter{path: v1.Path(e.Path), size: e.Size, read: file.readAt, from: func(turn string) (origin, bool) { return f.plainOrigin(e, turn) }}
	var parts []v1.Part
	for _, x := range extents {
		if x.hole {
			f.at(e.Path)
			parts = append(parts, v1.Part{Kind: v1.Hole, Length: x.length})
			continue
		}
		if parts, err = f.data(m, x, parts); err != nil {
			return nil, err
		}
	}
	return parts, file.verify()
}

// matter is what a file is made of: its content, or what is packed in it.
type matter struct {
	path v1.Path
	size uint64
	read func(b []byte, at uint64) error
	// from gives what it is probably made from, as that is when the frame of this turn
	// begins.
	from func(turn string) (origin, bool)
}

// origin is what something is made from: a file, as its view says.
type origin struct {
	file v1.File
	read func(b []byte, at uint64) error
}

// plainOrigin gives the predecessor of a file as it is.
func (f *framer) plainOrigin(e *tree.Indexed, turn string) (origin, bool) {
	from, ok := f.predecessor(e, turn)
	if !ok {
		return origin{}, false
	}
	return origin{file: from.file(), read: func(b []byte, at uint64) error {
		old, err := openVerified(filepath.Join(from.root, from.entry.Path), &from.entry.Entry)
		if err != nil {
			return err
		}
		defer old.Close()
		return cmp.Or(old.readAt(b, at), old.verify())
	}}, true
}

// makeRoom begins a new frame where the file, or what it is made from, would not fit
// into the one at hand but fits into one of its own.
func (f *framer) makeRoom(e *tree.Indexed) error {
	if f.now == nil {
		return nil
	}
	full := uint64(len(f.now.content))+min(e.Size, contentLimit) > contentLimit
	if from, ok := f.predecessor(e, f.now.turn); ok {
		full = full || uint64(len(f.now.source))+min(from.entry.Size, sourceLimit) > sourceLimit
	}
	if full {
		return f.flush()
	}
	return nil
}

// data reads an extent of a file into as many frames as it takes.
func (f *framer) data(m *matter, x extent, parts []v1.Part) ([]v1.Part, error) {
	for x.length > 0 {
		b := f.at(m.path.Subject())
		room := contentLimit - uint64(len(b.content))
		if room == 0 {
			if err := f.begin(m.path, parts); err != nil {
				return nil, err
			}
			parts = nil
			continue
		}
		n := min(room, x.length)
		if err := f.source(m, x.offset, n); err != nil {
			return nil, err
		}
		have := len(b.content)
		b.content = append(b.content, make([]byte, n)...)
		if err := m.read(b.content[have:], x.offset); err != nil {
			return nil, err
		}
		parts = append(parts, v1.Part{Kind: v1.Data, Length: n})
		x.offset, x.length = x.offset+n, x.length-n
	}
	return parts, nil
}

// begin ends the frame at hand within a file.
func (f *framer) begin(path v1.Path, parts []v1.Part) error {
	if err := f.command(v1.Write{Path: path, Parts: parts}); err != nil {
		return err
	}
	f.begun = true
	return f.flush()
}

// source adds to the source of the frame at hand what n bytes from offset are probably made
// from.
func (f *framer) source(m *matter, offset, n uint64) error {
	b := f.now
	from, ok := m.from(b.turn)
	room := sourceLimit - uint64(len(b.source))
	if !ok || room == 0 || b.whole[from.file] {
		return nil
	}
	size := from.file.ReadSize()
	r := v1.Range{Length: size}
	if size > room {
		// What is around the same place, as far as the sizes tell.
		place := uint64(float64(offset) / float64(m.size) * float64(size))
		slack := (room - min(room, n)) / 2
		r.Offset = min(place-min(place, slack), size-room)
		r.Length = room
	} else {
		b.whole[from.file] = true
	}
	have := len(b.source)
	b.source = append(b.source, make([]byte, r.Length)...)
	if err := from.read(b.source[have:], r.Offset); err != nil {
		return err
	}
	r.File = b.list(from.file)
	b.frame.Ranges = append(b.frame.Ranges, r)
	return nil
}
