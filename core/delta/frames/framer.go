package frames

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"

	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
	"github.com/trebuchet-update/tbupdate/core/tree"
)

// Limits of the frames that are made.
const (
	contentLimit = v1.MaxContent / 2
	sourceLimit  = v1.MaxSource / 2
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
	places  *places
	spool   string                 // directory for what is put aside
	trees   map[*tree.Index]string // paths of the tops
	emit    func(*unpacked) error
	made    map[v1.Digest]string // paths of plain files that the stream made so far, by content
	now     *building            // the frame at hand, nil for none
	begun   bool                 // a frame before it began a file
}

// building is a frame that is being put together.
type building struct {
	unpacked
	turn  string             // path of its first command
	files map[v1.File]int    // of the frame's list
	upTo  map[v1.File]uint64 // positions in files up to which they are in the source
	size  int                // of commands and lists, roughly
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
		f.now = &building{turn: path, files: map[v1.File]int{}, upTo: map[v1.File]uint64{}}
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
		c.Moved = v1.Expect(b.list(source{entry: f.planner.was.Find(c.From)}.file()))
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
	if e := p.is.Find(path); e != nil && p.before(path, turn) {
		return source{e, f.trees[p.is]}, e.Kind() == tree.KindFile
	}
	e := p.was.Find(path)
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

// readOrigin remembers what there is in files of the origin that are replaced or removed.
func (f *framer) readOrigin() error {
	top := f.trees[f.planner.was]
	for _, at := range f.planner.pairs {
		e := at.old
		if !worthPlaces(e, at.new) {
			continue
		}
		file, err := openVerified(filepath.Join(top, e.Path), &e.Entry)
		if err != nil {
			return err
		}
		err = f.places.add(f.ctx, source{e, top}, io.NewSectionReader(file, 0, int64(e.Size)))
		err = cmp.Or(err, file.verify())
		file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
