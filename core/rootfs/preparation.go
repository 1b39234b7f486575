package rootfs

import (
	"context"
	"slices"
	"strings"

	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// preparation reads the frames of a stream, and makes the content of each while the one before
// it is carried out.
type preparation struct {
	ctx       context.Context
	stream    *v1.Reader
	sources   *sources
	unpacking unpacking // the file that was read last of those that are packed
	source    []byte
	rooms     [2][]byte // for content: that of a frame, and of the one that is carried out
	ready     chan *prepared
	ended     chan struct{}
	err       error // once it has ended
}

// prepared is a frame whose content is there.
type prepared struct {
	frame    *v1.Frame
	place    v1.Place
	content  []byte       // that no command took yet
	compared map[int]seen // see sources
	// carriedOut is closed when all its commands are.
	carriedOut chan struct{}
}

// prepare begins with that. It goes on until the stream or the context ends, or something is wrong.
func prepare(ctx context.Context, stream *v1.Reader, sources *sources) *preparation {
	p := &preparation{ctx: ctx, stream: stream, sources: sources, ready: make(chan *prepared), ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = p.run()
		p.unpacking.close()
		sources.close()
	}()
	return p
}

// next gives the next frame. Whoever takes it has carried out the one before. Behind the last it gives
// io.EOF.
func (p *preparation) next() (*prepared, error) {
	select {
	case frame := <-p.ready:
		return frame, nil
	case <-p.ended:
		return nil, p.err
	}
}

// wait waits until nothing of the tree is read any more.
func (p *preparation) wait() { <-p.ended }

func (p *preparation) run() error {
	var before *prepared // may still be in work
	for {
		frame, err := p.stream.Next()
		if err != nil {
			return p.inTurn(before, err)
		}
		now := &prepared{frame: frame, place: p.stream.Place(), compared: map[int]seen{}, carriedOut: make(chan struct{})}
		if before != nil && before.changes(frame) {
			if err := p.inTurn(before, nil); err != nil {
				return err
			}
		}
		if err := p.fill(now); err != nil {
			return p.inTurn(before, now.place.Locate(err))
		}
		select {
		case p.ready <- now:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
		before = now
	}
}

// inTurn gives err once the frame before, if there is one, was carried out.
func (p *preparation) inTurn(before *prepared, err error) error {
	if before == nil {
		return err
	}
	select {
	case <-before.carriedOut:
		return err
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

// fill makes the content of a frame.
func (p *preparation) fill(now *prepared) error {
	p.sources.compared = now.compared
	if err := p.gather(now.frame); err != nil {
		return err
	}
	room := &p.rooms[now.place.Number%len(p.rooms)]
	var err error
	if now.content, err = now.frame.Content.Unpack(p.source, *room); err != nil {
		return err
	}
	if now.frame.Content.Method != v1.Plain && cap(now.content) > cap(*room) {
		*room = now.content // not what the stream's reader reads into
	}
	return nil
}

// gather makes the source of a frame: the bytes of its ranges.
func (p *preparation) gather(frame *v1.Frame) error {
	p.source = slices.Grow(p.source[:0], int(frame.SourceSize()))
	var old *oldFile
	at := -1
	defer func() {
		if old != nil {
			old.close()
		}
	}()
	for _, r := range frame.Ranges {
		if r.File != at {
			if old != nil {
				old.close()
				old = nil
			}
			var err error
			if old, err = p.sources.open(r.File, frame.Files[r.File]); err != nil {
				return err
			}
			at = r.File
		}
		if err := p.appendRange(old, frame.Files[r.File], r); err != nil {
			return err
		}
	}
	return nil
}

// appendRange reads a range of a file, as its view says.
func (p *preparation) appendRange(old *oldFile, file v1.File, r v1.Range) error {
	if file.View.Method == v1.AsItIs {
		return old.forward(p.ctx, p.sources.buffer, int64(r.Offset), int64(r.Length), func(piece []byte) {
			p.source = append(p.source, piece...)
		})
	}
	have := len(p.source)
	p.source = p.source[:have+int(r.Length)] // gather made room
	return p.unpacking.readAt(p.ctx, old, file, p.source[have:], r.Offset)
}

// changes reports whether carrying out the frame may change what the content of a later one is
// made of. What its commands read they read in their turn.
func (p *prepared) changes(later *v1.Frame) bool {
	if len(later.Ranges) == 0 {
		return false
	}
	changed := map[string]bool{}
	for _, c := range p.frame.Commands {
		if c.Op() != v1.OpWrite { // which leaves the path as it is
			changed[c.Subject()] = true
		}
		if move, ok := c.(v1.Move); ok {
			changed[move.From] = true
		}
	}
	read := func(r v1.Range) bool { return atOrBelow(later.Files[r.File].Path, changed) }
	return slices.ContainsFunc(later.Ranges, read)
}

// atOrBelow reports whether a path, or a directory that it is in, is one of these.
func atOrBelow(path string, paths map[string]bool) bool {
	for !paths[path] {
		above := strings.LastIndexByte(path, '/')
		if above < 0 {
			return false
		}
		path = path[:above]
	}
	return true
}
