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

// repacked makes a file that is packed, such as an initial RAM disk, from what is packed in
// it: of files that are there already, of what is packed in its predecessor, and of what is
// sent; and a program of the tree packs it again. It is false where that cannot be done: it is
// not packed, there is nothing to make it from, or no program packs it to the same bytes.
// That is proved here.
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
			view.View = v1.View{Method: before.found.Method, Offset: uint64(before.found.Offset), Length: uint64(before.length), Size: before.size}
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

// repack gives the parts: the head as it is, and the rest for the program.
func (f *framer) repack(e *tree.Indexed, file *verified, now *inside, way *proven, origins func(string) []origin) ([]v1.Part, error) {
	head := uint64(now.found.Offset + now.header)
	r, err := f.reuse(e.Path, file, head, nil)
	if err != nil {
		return nil, err
	}
	m := &matter{path: v1.Path(e.Path), size: head, read: file.readAt, reuse: r, from: func(string) []origin { return nil }}
	parts, err := f.extent(m, extent{length: head}, nil)
	if err != nil {
		return nil, err
	}
	parts = append(parts, v1.Part{
		Kind: v1.Repack, Length: e.Size - head, File: f.at(e.Path).list(way.program), Offset: way.skip, Arguments: way.arguments,
	})
	if r, err = f.reuse(e.Path, now.unpacked, now.size, nil); err != nil {
		return nil, err
	}
	m = &matter{path: v1.Path(e.Path), size: now.size, read: now.readAt, reuse: r, from: origins}
	if parts, err = f.extent(m, extent{length: now.size}, parts); err != nil {
		return nil, err
	}
	return append(parts, v1.Part{Kind: v1.Repack}), nil
}

// packedFiles gives the files of the target, whose top is given, that look packed and are large
// enough. Those with several names are left out: the others could not wait.
func (p *planner) packedFiles(top string) map[string]bool {
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
		if _, ok := packed.Find(file, int64(e.Size)); ok {
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
	header int64 // bytes that no program would write again
	length int64 // of what is packed, to the end of the file

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
	x := &inside{file: file, found: found, header: header, length: size - found.Offset}
	reader, err := packed.NewReader(found.Method, io.NewSectionReader(file, found.Offset, x.length))
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
	program   v1.File
	arguments []string
	skip      uint64 // bytes of the output that are not the file's
}

// prove looks for a program of the target that packs what is inside to the same bytes: nil
// for none. It comes late, when all that the program needs is there.
func (f *framer) prove(e *tree.Indexed, now *inside) (*proven, error) {
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

// packsTheSame runs the program. That it fails is an answer as well: it is one of another
// processor, for one.
func (f *framer) packsTheSame(p *proven, now *inside) (bool, error) {
	want := io.NewSectionReader(now.file, now.found.Offset+now.header, now.length-now.header)
	output := &packed.Window{W: &comparing{want: want}, Skip: p.skip, Length: uint64(now.length - now.header)}
	jail, err := filepath.Abs(f.trees[f.planner.is])
	if err != nil {
		return false, err
	}
	packer, err := packed.Start(f.ctx, jail, p.program.Path, p.arguments, output)
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
