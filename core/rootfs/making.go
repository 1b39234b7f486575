package rootfs

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"hash"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/packed"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// gatherTo is how much of a file is gathered before it is written: parts may be small.
const gatherTo = 64 << 10

// making is a plain file that is being made of parts.
type making struct {
	file     *newFile
	gathered []byte // the file's end as far as it is not written yet
	size     int64
	sum      hash.Hash // of all size bytes
	// short is true while the file ends with a hole, which was only skipped.
	short bool
	// packer takes the parts at present, nil for none; output is what of its own is to
	// come.
	packer packed.Packer
	output *packed.Window
}

// Write appends to the file.
func (m *making) Write(b []byte) (int, error) {
	if len(m.gathered)+len(b) > cap(m.gathered) {
		if err := m.flush(); err != nil {
			return 0, err
		}
	}
	if len(b) <= cap(m.gathered) {
		m.gathered = append(m.gathered, b...)
	} else if err := writeAll(m.file.handle, b); err != nil {
		return 0, err
	}
	m.took(b)
	return len(b), nil
}

// took accounts for what the file goes on with.
func (m *making) took(b []byte) {
	m.sum.Write(b)
	m.size += int64(len(b))
	m.short = m.short && len(b) == 0
}

// flush writes what was gathered: the file's position is its end then.
func (m *making) flush() error {
	err := writeAll(m.file.handle, m.gathered)
	m.gathered = m.gathered[:0]
	return err
}

// take gives content to the file, or to what packs it.
func (m *making) take(b []byte) error {
	if m.packer == nil {
		_, err := m.Write(b)
		return err
	}
	_, err := m.packer.Write(b)
	if err != nil {
		packer := m.packer
		m.packer = nil
		err = cmp.Or(packer.End(), err)
	}
	return err
}

// discard ends what was begun.
func (m *making) discard() {
	if m.packer != nil {
		m.packer.Kill()
	}
	m.file.discard()
}

// begin makes the file that is to get this name, under another one.
func (d *frameDeployment) begin(name string) (*making, error) {
	file, err := createReplacement(d.trail.here(), name)
	if err != nil {
		return nil, fmt.Errorf("cannot create file: %w", err)
	}
	return &making{file: file, gathered: d.gathered[:0], sum: sha256.New()}, nil
}

// write begins a file, or goes on with the one that was begun. The stream's reader saw
// to it that there is but one.
func (d *frameDeployment) write(name string, parts []v1.Part) error {
	if d.begun == nil {
		begun, err := d.begin(name)
		if err != nil {
			return err
		}
		d.begun = begun
	}
	// Frames come and go, and so does the directory's handle.
	d.begun.file.dir = d.trail.here()
	return d.parts(d.begun, parts)
}

// plainFile makes a file, or ends the one that was begun, and puts it in place.
func (d *frameDeployment) plainFile(name string, c *v1.PlainFile) error {
	if err := d.write(name, c.Parts); err != nil {
		return err
	}
	m := d.begun
	d.begun = nil
	defer m.discard()
	if got := v1.Digest(m.sum.Sum(nil)); got != c.Digest {
		return fmt.Errorf("%w: what it makes has the digest %x instead of %x", tbdiff.ErrMalformed, got, c.Digest)
	}
	if err := m.flush(); err != nil {
		return err
	}
	if m.short {
		if err := unix.Ftruncate(m.file.handle, m.size); err != nil {
			return fmt.Errorf("cannot set the size of file: %w", err)
		}
	}
	e, err := entryOf(m.file.handle)
	if err == nil {
		err = become(e, &c.Metadata)
	}
	if err != nil {
		return err
	}
	return m.file.replace(name)
}

// parts writes parts to the end of the file.
func (d *frameDeployment) parts(m *making, parts []v1.Part) error {
	for _, p := range parts {
		var err error
		switch p.Kind {
		case v1.Data:
			err = d.data(m, p)
		case v1.Hole:
			err = d.hole(m, p)
		case v1.Copy:
			err = d.copy(m, p)
		case v1.Repack:
			err = d.repack(m, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *frameDeployment) data(m *making, p v1.Part) error {
	piece := d.at.content[:p.Length]
	d.at.content = d.at.content[p.Length:]
	d.stats.NewBytes += int64(len(piece))
	if err := m.take(piece); err != nil {
		return err
	}
	return d.pause()
}

// hole leaves a part of the file out: it reads as zeros then.
func (d *frameDeployment) hole(m *making, p v1.Part) error {
	zeros := d.buffer[:min(p.Length, uint64(len(d.buffer)))]
	clear(zeros)
	take := func(b []byte) error { _, err := m.sum.Write(b); return err }
	if m.packer != nil {
		take = m.take
	} else {
		if err := m.flush(); err != nil {
			return err
		}
		if _, err := unix.Seek(m.file.handle, int64(p.Length), unix.SEEK_CUR); err != nil {
			return fmt.Errorf("cannot make a hole of %d bytes: %w", p.Length, err)
		}
		m.size += int64(p.Length)
		m.short = true
	}
	for left := p.Length; left > 0; {
		n := min(left, uint64(len(zeros)))
		if err := take(zeros[:n]); err != nil {
			return err
		}
		left -= n
		if err := d.pause(); err != nil {
			return err
		}
	}
	return nil
}

// copy takes a part from a file of the tree. What the filesystem shares is still read
// once, for the digest.
func (d *frameDeployment) copy(m *making, p v1.Part) error {
	old, err := d.sources.open(p.File, d.at.frame.Files[p.File])
	if err != nil {
		return err
	}
	start, length := int64(p.Offset), int64(p.Length)
	if m.packer == nil && length >= cloneFrom {
		head := old.beforeBlock(start, m.size)
		if err := d.copyByHand(old, start, head, m.take); err != nil {
			return err
		}
		if err := m.flush(); err != nil {
			return err
		}
		cloned, err := d.cloneRange(m.file.handle, old, start+head, length-head)
		if err != nil {
			return err
		}
		if err := old.forward(d.ctx, d.buffer, start+head, cloned, func(piece []byte) error { m.took(piece); return nil }); err != nil {
			return err
		}
		start, length = start+head+cloned, length-head-cloned
	}
	return d.copyByHand(old, start, length, m.take)
}

// repack begins what is packed, or ends it.
func (d *frameDeployment) repack(m *making, p v1.Part) error {
	if p.Length == 0 {
		packer := m.packer
		m.packer = nil
		err := packer.End()
		if err == nil && m.output.Length > 0 {
			err = packed.ErrOther
		}
		return err
	}
	m.output = &packed.Window{W: m, Skip: p.Offset, Length: p.Length}
	if p.By == v1.ByLZ4 {
		m.packer = packed.NewLZ4(m.output)
		return nil
	}
	if err := d.verify(p.File); err != nil {
		return err
	}
	var err error
	m.packer, err = packed.Start(d.ctx, (&entry{handle: d.sources.top}).path(), d.at.frame.Files[p.File].Path, p.Arguments, m.output)
	return err
}
