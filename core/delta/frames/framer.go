package frames

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"

	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
	"github.com/trebuchet-update/tbupdate/core/tree"
)

// Limits of the frames that are made.
const (
	contentLimit = v1.MaxContent
	sourceLimit  = v1.MaxSource
	// commandLimit is about what the commands of a frame may take, in bytes.
	commandLimit = 256 << 10
	// copyFrom is the size from which a file that is there already is copied rather
	// than sent: what names it takes room as well.
	copyFrom = 256
)

// framer puts steps together into frames.
type framer struct {
	ctx     context.Context
	planner *planner
	similar *similar
	trees   map[*tree.Index]string // paths of the tops
	emit    func(*unpacked) error
	made    map[v1.Digest]string // paths of plain files that the stream made so far, by content
	now     *building            // the frame at hand, nil for none
	begun   bool                 // a frame before it began a file
}

// building is a frame that is being put together.
type building struct {
	unpacked
	turn  string           // path of its first command
	files map[v1.File]int  // of the frame's list
	whole map[v1.File]bool // files that are in the source from end to end
	size  int              // of commands and lists, roughly
}

// run makes frames of all steps.
func (f *framer) run(steps []step) error {
	for i := range steps {
		if err := context.Cause(f.ctx); err != nil {
			return err
		}
		if file := steps[i].file; file != nil {
			if err := f.file(file); err != nil {
				return err
			}
			continue
		}
		if err := f.command(steps[i].command); err != nil {
			return err
		}
	}
	return f.flush()
}

// at gives the frame at hand, a new one if there is none. path is of the command that is
// to come.
func (f *framer) at(path string) *building {
	if f.now == nil {
		f.now = &building{turn: path, files: map[v1.File]int{}, whole: map[v1.File]bool{}}
	}
	return f.now
}

// command adds a command that needs no content.
func (f *framer) command(c v1.Command) error {
	b := f.at(c.Subject())
	c = f.expecting(b, c)
	b.frame.Commands = append(b.frame.Commands, c)
	b.size += costOf(c)
	if b.size >= commandLimit {
		return f.flush()
	}
	return nil
}

// expecting adds to a command what it has to find, as the origin has it.
func (f *framer) expecting(b *building, c v1.Command) v1.Command {
	switch c := c.(type) {
	case v1.Write:
		c.Before = f.before(b, c.Path)
		return c
	case v1.PlainFile:
		c.Before = f.before(b, c.Path)
		f.begun = false
		return c
	case v1.Symlink:
		c.Before = f.before(b, c.Path)
		return c
	case v1.Device:
		c.Before = f.before(b, c.Path)
		return c
	case v1.FIFO:
		c.Before = f.before(b, c.Path)
		return c
	case v1.Link:
		c.Before = f.before(b, c.Path)
		return c
	case v1.Move:
		c.Before = f.before(b, c.Path)
		c.Moved = v1.Expect(b.list(source{entry: f.planner.origin[c.From]}.file()))
		return c
	}
	return c
}

// before lists the file that a command replaces, if there is one.
func (f *framer) before(b *building, path v1.Path) v1.Before {
	if from, ok := f.holds(path.Subject(), path.Subject()); ok && !f.begun {
		return v1.Expect(b.list(from.file()))
	}
	return 0
}

// costOf gives about what a command takes, in bytes.
func costOf(c v1.Command) int {
	cost := 32 + len(c.Subject())
	attributes := func(m *v1.Metadata) {
		for _, a := range m.Attributes {
			cost += len(a.Name) + len(a.Value)
		}
	}
	switch c := c.(type) {
	case v1.Directory:
		attributes(&c.Metadata)
	case v1.PlainFile:
		attributes(&c.Metadata)
		cost += 32 + 12*len(c.Parts)
	case v1.Write:
		cost += 12 * len(c.Parts)
	case v1.Symlink:
		attributes(&c.Metadata)
		cost += len(c.Target)
	case v1.Device:
		attributes(&c.Metadata)
	case v1.FIFO:
		attributes(&c.Metadata)
	case v1.Meta:
		attributes(&c.Metadata)
	case v1.Link:
		cost += len(c.To)
	case v1.Move:
		cost += len(c.From)
	}
	return cost
}

// flush ends the frame at hand.
func (f *framer) flush() error {
	if f.now == nil {
		return nil
	}
	b := f.now
	f.now = nil
	return f.emit(&b.unpacked)
}

// source is a file of one of the trees.
type source struct {
	entry *tree.Indexed
	root  string // of its tree
}

func (s source) file() v1.File {
	return v1.File{Path: s.entry.Path, Size: s.entry.Size, Digest: s.entry.Content}
}

// holds gives the plain file that a path holds when it is the turn of another one, whose
// step is not done yet; false for none.
func (f *framer) holds(path, turn string) (source, bool) {
	p := f.planner
	if e := p.target[path]; e != nil && comparePaths(path, turn) < 0 {
		return source{e, f.trees[p.is]}, e.Kind() == tree.KindFile
	}
	e := p.origin[path]
	if e == nil || e.Kind() != tree.KindFile || !p.stands(path, turn) {
		return source{}, false
	}
	return source{e, f.trees[p.was]}, true
}

// list gives the number of a file in the list of the frame at hand.
func (b *building) list(file v1.File) int {
	n, ok := b.files[file]
	if !ok {
		n = len(b.frame.Files)
		b.files[file] = n
		b.frame.Files = append(b.frame.Files, file)
		b.size += 40 + len(file.Path)
	}
	return n
}

// file makes a plain file.
func (f *framer) file(e *tree.Indexed) error {
	c := v1.PlainFile{Path: v1.Path(e.Path), Metadata: metadataOf(&e.Entry), Size: e.Size, Digest: e.Content}
	if e.Size >= copyFrom {
		if from, ok := f.equal(e); ok {
			c.Parts = []v1.Part{{Kind: v1.Copy, Length: e.Size, File: f.at(e.Path).list(from.file())}}
			return f.command(c)
		}
	}
	if e.Size > 0 {
		parts, err := f.parts(e)
		if err != nil {
			return fmt.Errorf("cannot put %q together: %w", e.Path, err)
		}
		c.Parts = parts
		f.made[e.Content] = e.Path
	}
	return f.command(c)
}

// equal finds a file with the content of e that is there when it is e's turn.
func (f *framer) equal(e *tree.Indexed) (source, bool) {
	candidates := []string{e.Path}
	if path, ok := f.made[e.Content]; ok {
		candidates = append(candidates, path)
	}
	candidates = append(candidates, f.planner.staying[e.Content]...)
	candidates = append(candidates, f.planner.gone[e.Content]...)
	for _, path := range candidates {
		if from, ok := f.holds(path, e.Path); ok && from.entry.Content == e.Content && from.entry.Size == e.Size {
			return from, true
		}
	}
	return source{}, false
}

// predecessor finds the file that e is probably made from, as it is when the frame at hand
// begins; false for none.
func (f *framer) predecessor(e *tree.Indexed, turn string) (source, bool) {
	if from, ok := f.holds(e.Path, turn); ok && from.entry.Size > 0 {
		return from, true
	}
	if like := f.similar.find(e); like != nil {
		if from, ok := f.holds(like.Path, turn); ok && from.entry.Size > 0 {
			return from, true
		}
	}
	return source{}, false
}

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
