package frames

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/core/packed"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
	"github.com/trebuchet-update/tbupdate/core/tree"
)

// repackFrom is the size from which a file is worth the work of looking into it.
const repackFrom = 1 << 20

// repacked makes a file in which something is packed, such as an initial RAM disk or a kernel,
// from that: of files that are there already, of what is packed in its predecessor, and of what
// is sent; and a program of the tree, or the deployer itself, packs it again. It is false where
// that cannot be done: nothing is packed, there is nothing to make it from, or nobody packs it
// to the same bytes. That is proved here.
func (f *framer) repacked(e *tree.Indexed, file *verified) ([]v1.Part, bool, error) {
	if !f.planner.late[e.Path] {
		return nil, false, nil
	}
	now, err := f.lookInto(file)
	if err != nil || now == nil {
		return nil, false, err
	}
	defer now.close()
	way, err := f.prove(e, now)
	if err != nil || way == nil {
		return nil, false, err
	}
	origins := func(string) []origin { return nil }
	if from, ok := f.predecessor(e, e.Path); ok {
		before, err := f.lookIntoSource(from)
		if err != nil {
			return nil, false, err
		}
		if before != nil {
			defer before.close()
			view := from.file()
			found := before.found
			view.View = v1.View{Method: found.Method, Offset: uint64(found.Offset), Length: uint64(found.Length), Size: before.size}
			origins = func(string) []origin { return []origin{{file: view, read: before.readAt}} }
		}
	}
	// The frame begins with this file, so what it is made from is as it was when the
	// turn came to it.
	if err := f.flush(); err != nil {
		return nil, false, err
	}
	parts, err := f.repack(e, file, now, way, origins)
	return parts, true, err
}

// repack gives the parts: what is packed for the packer, and what is before and behind it as
// it is.
func (f *framer) repack(e *tree.Indexed, file *verified, now *inside, way *proven, origins func(string) []origin) ([]v1.Part, error) {
	head, end := uint64(now.found.Offset+now.header), uint64(now.found.Offset+now.found.Length)
	r, err := f.reuse(e.Path, file, e.Size, nil)
	if err != nil {
		return nil, err
	}
	around := &matter{path: v1.Path(e.Path), size: e.Size, read: file.readAt, reuse: r, from: func(string) []origin { return nil }}
	parts, err := f.extent(around, extent{length: head}, nil)
	if err != nil {
		return nil, err
	}
	begin := v1.Part{Kind: v1.Repack, Length: end - head, By: way.by, Offset: way.skip, Arguments: way.arguments}
	if way.by == v1.AsItIs {
		begin.File = f.at(e.Path).list(way.program)
	}
	parts = append(parts, begin)
	inner, err := f.reuse(e.Path, now.unpacked, now.size, nil)
	if err != nil {
		return nil, err
	}
	m := &matter{path: v1.Path(e.Path), size: now.size, read: now.readAt, reuse: inner, from: origins}
	if parts, err = f.extent(m, extent{length: now.size}, parts); err != nil {
		return nil, err
	}
	parts = append(parts, v1.Part{Kind: v1.Repack})
	return f.extent(around, extent{offset: end, length: e.Size - end}, parts)
}

// packedFiles gives the files of the target, whose top is given, that look packed by a method that
// the level looks into, and are large enough. Those with several names are left out: the others
// could not wait.
func (p *planner) packedFiles(top string, level Level) map[string]bool {
	found := map[string]bool{}
	for _, at := range p.pairs {
		e := at.new
		if e == nil || e.Kind() != tree.KindFile || e.Size < repackFrom || e.First != "" || p.several[e.Path] {
			continue
		}
		file, err := openVerified(filepath.Join(top, e.Path), &e.Entry)
		if err != nil {
			continue // whoever reads it says so
		}
		if as, ok := packed.Find(file, int64(e.Size)); ok && level.looksInto(as.Method) {
			found[e.Path] = true
		}
		file.Close()
	}
	return found
}

// inside is what is packed in a file.
type inside struct {
	file   *verified
	found  packed.Found
	header int64 // bytes of it that no program would write again

	unpacked *os.File // without a name
	size     uint64   // of it
}

func (x *inside) close() { x.unpacked.Close() }

// lookInto unpacks what is packed in a file: nil for nothing, or for something that cannot
// be unpacked.
func (f *framer) lookInto(file *verified) (*inside, error) {
	size := int64(file.entry.Size)
	found, ok := packed.Find(file, size)
	if !ok {
		return nil, nil
	}
	header, err := packed.HeaderSize(file, found)
	if err != nil {
		return nil, nil // it only looked so
	}
	x := &inside{file: file, found: found, header: header}
	reader, err := packed.NewReader(found.Method, io.NewSectionReader(file, found.Offset, found.Length))
	if err != nil {
		return nil, nil
	}
	defer reader.Close()
	if x.unpacked, err = spool(f.spool); err != nil {
		return nil, err
	}
	n, err := io.Copy(x.unpacked, &cancellable{f.ctx, reader})
	if err != nil {
		x.close()
		if errors.As(err, new(*os.PathError)) {
			return nil, fmt.Errorf("cannot unpack it: %w", err)
		}
		return nil, context.Cause(f.ctx)
	}
	x.size = uint64(n)
	return x, nil
}

// lookIntoSource does the same with a file of one of the trees.
func (f *framer) lookIntoSource(s source) (*inside, error) {
	file, err := openVerified(filepath.Join(s.root, s.entry.Path), &s.entry.Entry)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	x, err := f.lookInto(file)
	if err = cmp.Or(err, file.verify()); err != nil && x != nil {
		x.close()
	}
	return x, err
}

// readAt fills b with what is unpacked from an offset on.
func (x *inside) readAt(b []byte, at uint64) error {
	if _, err := x.unpacked.ReadAt(b, int64(at)); err != nil {
		return fmt.Errorf("cannot read what was unpacked: %w", err)
	}
	return nil
}

// proven is a way of packing that gives the bytes that are wanted.
type proven struct {
	by        v1.PackedBy // AsItIs: a program
	program   v1.File
	arguments []string
	skip      uint64 // bytes of the output that are not the file's
}

// prove looks for a way to pack what is inside to the same bytes, with a program of the target
// for one: nil for none. It comes late, when all that the program needs is there.
func (f *framer) prove(e *tree.Indexed, now *inside) (*proven, error) {
	if now.found.Method == v1.ByLZ4 {
		p := &proven{by: v1.ByLZ4}
		same, err := f.packsTheSame(p, now)
		if err != nil || !same {
			return nil, err
		}
		return p, nil
	}
	for _, way := range packed.Ways(now.found.Method, now.size) {
		for _, path := range way.Programs {
			program, ok := f.holds(path, e.Path)
			if !ok || program.root != f.trees[f.planner.is] {
				continue
			}
			p := &proven{program: program.file(), arguments: way.Arguments}
			if now.found.Method == v1.ByGzip {
				p.skip = packed.PlainHeader
			}
			same, err := f.packsTheSame(p, now)
			if err != nil || same {
				return p, err
			}
			break
		}
	}
	return nil, nil
}

// packsTheSame packs. That a program fails is an answer as well: it is one of another
// processor, for one.
func (f *framer) packsTheSame(p *proven, now *inside) (bool, error) {
	want := io.NewSectionReader(now.file, now.found.Offset+now.header, now.found.Length-now.header)
	output := &packed.Window{W: &comparing{want: want}, Skip: p.skip, Length: uint64(now.found.Length - now.header)}
	packer, err := f.packer(p, output)
	if err != nil {
		return false, context.Cause(f.ctx)
	}
	_, fed := io.Copy(packer, &cancellable{f.ctx, io.NewSectionReader(now.unpacked, 0, int64(now.size))})
	ended := packer.End()
	if err := context.Cause(f.ctx); err != nil {
		return false, err
	}
	return fed == nil && ended == nil && output.Length == 0, nil
}

// packer starts what packs to w.
func (f *framer) packer(p *proven, w io.Writer) (packed.Packer, error) {
	if p.by == v1.ByLZ4 {
		return packed.NewLZ4(w), nil
	}
	jail, err := filepath.Abs(f.trees[f.planner.is])
	if err != nil {
		return nil, err
	}
	return packed.Start(f.ctx, jail, p.program.Path, p.arguments, w)
}

// errDiffers ends a comparison.
var errDiffers = errors.New("it differs")

// comparing compares what is written to it.
type comparing struct{ want io.Reader }

func (c *comparing) Write(b []byte) (int, error) {
	want := make([]byte, len(b))
	if _, err := io.ReadFull(c.want, want); err != nil {
		return 0, err
	}
	if !bytes.Equal(b, want) {
		return 0, errDiffers
	}
	return len(b), nil
}

// cancellable reads until the context ends.
type cancellable struct {
	ctx context.Context
	io.Reader
}

func (c *cancellable) Read(b []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.Reader.Read(b)
}
