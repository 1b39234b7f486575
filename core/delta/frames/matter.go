package frames

import (
	"cmp"
	"path/filepath"
	"slices"

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
	r, err := f.reuse(e.Path, file, e.Size, &source{e, f.trees[f.planner.is]})
	if err != nil {
		return nil, err
	}
	m := &matter{path: v1.Path(e.Path), size: e.Size, read: file.readAt, reuse: r,
		from: func(turn string) []origin { return f.plainOrigins(e, r, turn) }}
	if err := f.makeRoom(m); err != nil {
		return nil, err
	}
	var parts []v1.Part
	for _, x := range extents {
		if x.hole {
			if parts, err = f.part(m, parts, v1.Part{Kind: v1.Hole, Length: x.length}); err != nil {
				return nil, err
			}
			continue
		}
		if parts, err = f.extent(m, x, parts); err != nil {
			return nil, err
		}
	}
	return parts, file.verify()
}

// partsMost is how many parts of a file are in a frame, about.
const partsMost = 1 << 13

// part adds a part that needs no content.
func (f *framer) part(m *matter, parts []v1.Part, p v1.Part) ([]v1.Part, error) {
	if len(parts) >= partsMost {
		if err := f.begin(m.path, parts); err != nil {
			return nil, err
		}
		parts = nil
	}
	f.at(m.path.Subject())
	return append(parts, p), nil
}

// extent makes an extent of a file that has data: it copies what is somewhere else, and
// reads the rest.
func (f *framer) extent(m *matter, x extent, parts []v1.Part) ([]v1.Part, error) {
	for x.length > 0 {
		next, ok := m.reuse.next(x)
		data := x
		if ok {
			data.length = next.at - x.offset
		}
		var err error
		if parts, err = f.data(m, data, parts); err != nil {
			return nil, err
		}
		if !ok {
			return parts, nil
		}
		if len(parts) >= partsMost { // before the file's number is that of another frame
			if err := f.begin(m.path, parts); err != nil {
				return nil, err
			}
			parts = nil
		}
		number := f.at(m.path.Subject()).list(next.from.file())
		parts = append(parts, v1.Part{Kind: v1.Copy, Length: next.length, File: number, Offset: next.place})
		end := next.at + next.length
		x.offset, x.length = end, x.offset+x.length-end
	}
	return parts, nil
}

// matter is what a file is made of: its content, or what is packed in it.
type matter struct {
	path v1.Path
	size uint64
	read func(b []byte, at uint64) error
	// from gives what it is probably made from, as that is when the frame of this turn
	// begins.
	from  func(turn string) []origin
	reuse *reuse
}

// origin is what something is made from: a file, as its view says.
type origin struct {
	file v1.File
	read func(b []byte, at uint64) error
}

// plainOrigins gives the predecessor of a file, and files that have much in common with it, as
// they are.
func (f *framer) plainOrigins(e *tree.Indexed, r *reuse, turn string) []origin {
	var from []source
	if predecessor, ok := f.predecessor(e, turn); ok {
		from = append(from, predecessor)
	}
	for _, s := range r.files {
		if there, ok := f.holds(s.entry.Path, turn); ok && there == s && !slices.Contains(from, s) {
			from = append(from, s)
		}
	}
	var origins []origin
	for _, s := range from {
		origins = append(origins, origin{file: s.file(), read: func(b []byte, at uint64) error {
			old, err := openVerified(filepath.Join(s.root, s.entry.Path), &s.entry.Entry)
			if err != nil {
				return err
			}
			defer old.Close()
			return cmp.Or(old.readAt(b, at), old.verify())
		}})
	}
	return origins
}

// makeRoom begins a new frame where the file, or what it is made from, would not fit
// into the one at hand but fits into one of its own.
func (f *framer) makeRoom(m *matter) error {
	if f.now == nil {
		return nil
	}
	source := uint64(len(f.now.source))
	for _, from := range m.from(f.now.turn) {
		if _, ok := f.now.upTo[from.file]; !ok {
			source += min(from.file.ReadSize(), sourceLimit)
		}
	}
	if uint64(len(f.now.content))+min(m.size, contentLimit) > contentLimit || source > sourceLimit {
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

// slack is how much is read around the place that is probably the right one in a file that is
// too large to be read as a whole.
const (
	slack      = 64 << 10
	closeSlack = 512
)

// source adds to the source of the frame at hand what n bytes from offset are probably made
// from.
func (f *framer) source(m *matter, offset, n uint64) error {
	for _, from := range m.from(f.now.turn) {
		if err := f.sourceFrom(m, from, offset, n); err != nil {
			return err
		}
	}
	return nil
}

func (f *framer) sourceFrom(m *matter, from origin, offset, n uint64) error {
	b := f.now
	room := sourceLimit - uint64(len(b.source))
	size := from.file.ReadSize()
	r := v1.Range{Length: size}
	if known := m.reuse.covers(from.file, m.size); known || size > room {
		if place, ok := m.reuse.place(from.file, offset); ok {
			slack := uint64(slack)
			if known {
				slack = closeSlack
			}
			r.Offset, r.Length = place-min(place, slack), n+2*slack
		} else {
			// What is around the same place, as far as the sizes tell.
			place := uint64(float64(offset) / float64(m.size) * float64(size))
			r.Offset, r.Length = min(place-min(place, (room-min(room, n))/2), size-room), room
		}
	}
	// What is there already is not read again.
	if upTo := b.upTo[from.file]; r.Offset < upTo {
		r.Length -= min(r.Length, upTo-r.Offset)
		r.Offset = upTo
	}
	r.Length = min(r.Length, room, size-min(size, r.Offset))
	if r.Length == 0 {
		return nil
	}
	b.upTo[from.file] = r.Offset + r.Length
	have := len(b.source)
	b.source = append(b.source, make([]byte, r.Length)...)
	if err := from.read(b.source[have:], r.Offset); err != nil {
		return err
	}
	r.File = b.list(from.file)
	b.frame.Ranges = append(b.frame.Ranges, r)
	return nil
}
