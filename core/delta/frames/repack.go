package frames

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/core/packed"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
	"github.com/trebuchet-update/tbupdate/core/tree"
)

// repackFrom is the size from which a file is worth the work of looking into it.
const repackFrom = 1 << 20

// repacked makes a file that is packed, such as an initial RAM disk, from what is packed
// in its predecessor: a program of the tree packs it again. It is false where that cannot be
// done: one of them is not packed, or no program packs it to the same bytes. That is
// proved here, with the program of the origin.
func (f *framer) repacked(e *tree.Indexed, file *verified) ([]v1.Part, bool, error) {
	from, ok := f.predecessor(e, e.Path)
	if !ok {
		return nil, false, nil
	}
	now, err := lookInto(f.ctx, file)
	if err != nil || now == nil {
		return nil, false, err
	}
	old, err := openVerified(filepath.Join(from.root, from.entry.Path), &from.entry.Entry)
	if err != nil {
		return nil, false, err
	}
	defer old.Close()
	before, err := lookInto(f.ctx, old)
	if err != nil || before == nil {
		return nil, false, err
	}
	way, err := f.prove(e, now)
	if err != nil || way == nil {
		return nil, false, err
	}
	// The frame begins with this file, so what it is made from is as it was when the
	// turn came to it.
	if err := f.flush(); err != nil {
		return nil, false, err
	}
	view := from.file()
	view.View = v1.View{Method: before.found.Method, Offset: uint64(before.found.Offset), Length: uint64(before.length), Size: before.size}
	parts, err := f.repack(e, file, now, way, origin{file: view, read: before.readAt})
	return parts, true, cmp.Or(err, old.verify())
}

// repack gives the parts: the head as it is, and the rest for the program.
func (f *framer) repack(e *tree.Indexed, file *verified, now *inside, way *proven, from origin) ([]v1.Part, error) {
	head := uint64(now.found.Offset + now.header)
	m := &matter{path: v1.Path(e.Path), size: head, read: file.readAt, from: func(string) (origin, bool) { return origin{}, false }}
	parts, err := f.data(m, extent{length: head}, nil)
	if err != nil {
		return nil, err
	}
	parts = append(parts, v1.Part{
		Kind: v1.Repack, Length: e.Size - head, File: f.at(e.Path).list(way.program), Offset: way.skip, Arguments: way.arguments,
	})
	m = &matter{path: v1.Path(e.Path), size: now.size, read: now.readAt, from: func(string) (origin, bool) { return from, true }}
	if parts, err = f.data(m, extent{length: now.size}, parts); err != nil {
		return nil, err
	}
	return append(parts, v1.Part{Kind: v1.Repack}), nil
}

// inside is what is packed in a file.
type inside struct {
	ctx    context.Context
	file   *verified
	found  packed.Found
	header int64  // bytes that no program would write again
	length int64  // of what is packed, to the end of the file
	size   uint64 // of it unpacked

	reader io.ReadCloser // nil before anything is read
	at     uint64        // of what reader gives next
}

// lookInto finds what is packed in a file: nil for nothing, or for something that cannot
// be unpacked.
func lookInto(ctx context.Context, file *verified) (*inside, error) {
	size := int64(file.entry.Size)
	found, ok := packed.Find(file, size)
	if !ok {
		return nil, nil
	}
	header, err := packed.HeaderSize(file, found)
	if err != nil {
		return nil, nil // it only looked so
	}
	x := &inside{ctx: ctx, file: file, found: found, header: header, length: size - found.Offset}
	if err := x.begin(); err != nil {
		return nil, nil
	}
	n, err := io.Copy(io.Discard, &cancellable{ctx, x.reader})
	x.end()
	if err != nil {
		return nil, context.Cause(ctx)
	}
	x.size = uint64(n)
	return x, nil
}

func (x *inside) begin() (err error) {
	section := io.NewSectionReader(x.file, x.found.Offset, x.length)
	x.reader, err = packed.NewReader(x.found.Method, section)
	x.at = 0
	return err
}

func (x *inside) end() {
	if x.reader != nil {
		x.reader.Close()
		x.reader = nil
	}
}

// readAt fills b with what is unpacked from an offset on. To go back it begins anew.
func (x *inside) readAt(b []byte, at uint64) error {
	if x.reader == nil || at < x.at {
		x.end()
		if err := x.begin(); err != nil {
			return fmt.Errorf("cannot unpack it: %w", err)
		}
	}
	if _, err := io.CopyN(io.Discard, x.reader, int64(at-x.at)); err != nil {
		return fmt.Errorf("cannot unpack it: %w", err)
	}
	n, err := io.ReadFull(x.reader, b)
	x.at = at + uint64(n)
	if err != nil {
		return fmt.Errorf("cannot unpack it: %w", err)
	}
	return nil
}

// proven is a way of packing that gives the bytes that are wanted.
type proven struct {
	program   v1.File
	arguments []string
	skip      uint64 // bytes of the output that are not the file's
}

// prove looks for a program of the origin that packs what is inside to the same bytes: nil
// for none.
func (f *framer) prove(e *tree.Indexed, now *inside) (*proven, error) {
	for _, way := range packed.Ways(now.found.Method) {
		for _, path := range way.Programs {
			program, ok := f.holds(path, e.Path)
			if !ok || program.root != f.trees[f.planner.was] {
				continue // what it needs may be half replaced
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
	jail, err := filepath.Abs(f.trees[f.planner.was])
	if err != nil {
		return false, err
	}
	packer, err := packed.Start(f.ctx, jail, p.program.Path, p.arguments, output)
	if err != nil {
		return false, context.Cause(f.ctx)
	}
	if err := now.begin(); err != nil {
		packer.Kill()
		return false, err
	}
	defer now.end()
	_, fed := io.Copy(packer, &cancellable{f.ctx, now.reader})
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
