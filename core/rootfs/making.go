package rootfs

import (
	"crypto/sha256"
	"fmt"
	"hash"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// making is a plain file that is being made of parts.
type making struct {
	file *newFile
	size int64
	sum  hash.Hash // of all size bytes
}

// begin makes the file that is to get this name, under another one.
func (d *frameDeployment) begin(name string) (*making, error) {
	file, err := createReplacement(d.trail.here(), name)
	if err != nil {
		return nil, fmt.Errorf("cannot create file: %w", err)
	}
	return &making{file: file, sum: sha256.New()}, nil
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
	defer m.file.discard()
	if got := v1.Digest(m.sum.Sum(nil)); got != c.Digest {
		return fmt.Errorf("%w: what it makes has the digest %x instead of %x", tbdiff.ErrMalformed, got, c.Digest)
	}
	// A hole at the end was only skipped.
	if err := unix.Ftruncate(m.file.handle, m.size); err != nil {
		return fmt.Errorf("cannot set the size of file: %w", err)
	}
	if err := become(&entry{handle: m.file.handle}, unix.S_IFREG, &c.Metadata); err != nil {
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
		}
		if err != nil {
			return err
		}
		m.size += int64(p.Length)
	}
	return nil
}

func (d *frameDeployment) data(m *making, p v1.Part) error {
	piece := d.content[:p.Length]
	d.content = d.content[p.Length:]
	if err := writeAll(m.file.handle, piece); err != nil {
		return err
	}
	m.sum.Write(piece)
	d.stats.NewBytes += int64(len(piece))
	return d.pause()
}

// hole leaves a part of the file out: it reads as zeros then.
func (d *frameDeployment) hole(m *making, p v1.Part) error {
	if _, err := unix.Seek(m.file.handle, int64(p.Length), unix.SEEK_CUR); err != nil {
		return fmt.Errorf("cannot make a hole of %d bytes: %w", p.Length, err)
	}
	zeros := d.buffer
	clear(zeros)
	for left := p.Length; left > 0; {
		n := min(left, uint64(len(zeros)))
		m.sum.Write(zeros[:n])
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
	old, err := d.sources.open(p.File, d.files[p.File])
	if err != nil {
		return err
	}
	defer old.close()
	if err := d.copyRange(m.file.handle, m.size, old, int64(p.Offset), int64(p.Length)); err != nil {
		return err
	}
	return old.forward(d.ctx, d.buffer, int64(p.Offset), int64(p.Length), func(piece []byte) { m.sum.Write(piece) })
}
