package tree

import (
	"bytes"
	"context"
)

// Common is how much the contents of two files have in common, in bytes. Start and
// End never overlap in either file.
type Common struct {
	Start uint64 // that both begin with
	End   uint64 // that both end with; only looked for where Start does not say it all
}

// Content is a pair of open files, to be compared.
type Content struct {
	Origin, Target *File
}

// WithContent opens the plain files a and b, loads their attributes, and calls use.
func WithContent(a, b *Node, use func(Content) error) error {
	origin, err := a.Open()
	if err != nil {
		return err
	}
	defer origin.Close()
	target, err := b.Open()
	if err != nil {
		return err
	}
	defer target.Close()
	if err := origin.Load(); err != nil {
		return err
	}
	if err := target.Load(); err != nil {
		return err
	}
	return use(Content{Origin: origin, Target: target})
}

// Equal reports whether both files have the same content, and how many bytes their
// beginnings have in common. It reads up to the first difference.
func (c Content) Equal(ctx context.Context, s *Scratch) (bool, uint64, error) {
	start, err := c.start(ctx, s)
	if err == nil {
		err = c.verify()
	}
	return err == nil && start == c.Origin.node.Size && start == c.Target.node.Size, start, err
}

// Common finds what the files have in common at both ends. It reads what is
// common, and no byte of it twice.
func (c Content) Common(ctx context.Context, s *Scratch) (Common, error) {
	start, err := c.start(ctx, s)
	if err != nil {
		return Common{}, err
	}
	end, err := c.end(ctx, s, start)
	if err != nil {
		return Common{}, err
	}
	return Common{Start: start, End: end}, c.verify()
}

func (c Content) verify() error {
	if err := c.Origin.Verify(); err != nil {
		return err
	}
	return c.Target.Verify()
}

// start gives the length of the common beginning.
func (c Content) start(ctx context.Context, s *Scratch) (uint64, error) {
	most := min(c.Origin.node.Size, c.Target.node.Size)
	for at := uint64(0); at < most; at += chunk {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		size := min(chunk, most-at)
		a, b, err := c.pieces(s, size, at, at)
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(a, b) {
			return at + uint64(commonPrefix(a, b)), nil
		}
	}
	return most, nil
}

// end gives the length of the common end, of what lies behind start.
func (c Content) end(ctx context.Context, s *Scratch, start uint64) (uint64, error) {
	sizeA, sizeB := c.Origin.node.Size, c.Target.node.Size
	most := min(sizeA, sizeB) - start
	for done := uint64(0); done < most; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		size := min(chunk, most-done)
		a, b, err := c.pieces(s, size, sizeA-done-size, sizeB-done-size)
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(a, b) {
			return done + uint64(commonSuffix(a, b)), nil
		}
		done += size
	}
	return most, nil
}

// pieces reads size bytes of either file.
func (c Content) pieces(s *Scratch, size, atA, atB uint64) (a, b []byte, err error) {
	a, b = s.a[:size], s.b[:size]
	if err := c.Origin.readAt(a, atA); err != nil {
		return nil, nil, err
	}
	return a, b, c.Target.readAt(b, atB)
}

// commonPrefix gives how many bytes a and b, of equal length, begin with together.
func commonPrefix(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// commonSuffix gives how many bytes a and b, of equal length, end with together.
func commonSuffix(a, b []byte) int {
	for i := range a {
		if a[len(a)-1-i] != b[len(b)-1-i] {
			return i
		}
	}
	return len(a)
}
