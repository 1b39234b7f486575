package rootfs

import (
	"cmp"
	"context"
	"slices"
	"strings"

	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// ahead is how many frames are prepared beside the one that is carried out: frames differ, and so does
// the time that either takes.
const ahead = 2

// preparation reads the frames of a stream, and makes the content of each while those before
// it are carried out.
type preparation struct {
	ctx       context.Context
	stream    *v1.Reader
	sources   *sources
	unpacking unpacking // the file that was read last of those that are packed
	unpacker  v1.Unpacker
	source    []byte
	rooms     [1 + ahead][]byte // for content: of the frame that is carried out, and of those ahead
	pending   []*prepared       // the last ones, which may not be carried out yet
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
	p := &preparation{ctx: ctx, stream: stream, sources: sources, ready: make(chan *prepared, ahead-1), ended: make(chan struct{})}
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
	for {
		frame, err := p.stream.Next()
		if err != nil {
			return p.inTurn(err)
		}
		now := &prepared{frame: frame, place: p.stream.Place(), compared: map[int]seen{}, carriedOut: make(chan struct{})}
		if err := p.fill(now); err != nil {
			return p.inTurn(now.place.Locate(err))
		}
		select {
		case p.ready <- now:
		case <-p.ctx.Done():
			return context.Cause(p.ctx)
		}
		p.pending = append(p.pending, now)
		if len(p.pending) > ahead {
			p.pending = p.pending[1:]
		}
	}
}

// inTurn gives err once all frames before were carried out.
func (p *preparation) inTurn(err error) error {
	if n := len(p.pending); n > 0 {
		err = cmp.Or(p.await(p.pending[n-1]), err)
	}
	return err
}

// await waits until a frame was carried out, and so all before it.
func (p *preparation) await(frame *prepared) error {
	select {
	case <-frame.carriedOut:
		return nil
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

// fill makes the content of a frame.
func (p *preparation) fill(now *prepared) error {
	p.sources.begin(now.compared)
	if err := p.gather(now.frame); err != nil {
		return err
	}
	room := &p.rooms[now.place.Number%len(p.rooms)]
	var err error
	if now.content, err = p.unpacker.Unpack(&now.frame.Content, p.source, *room); err != nil {
		return err
	}
	*room = v1.Room(*room, now.content)
	return nil
}

// gather makes the source of a frame: the bytes of its ranges. What frames before it change is read
// last, once they were carried out.
func (p *preparation) gather(frame *v1.Frame) error {
	p.source = slices.Grow(p.source[:0], int(frame.SourceSize()))[:frame.SourceSize()]
	behind := p.changing(frame.Files)
	if err := p.read(frame, func(r v1.Range) bool { return behind[r.File] == nil }); err != nil {
		return err
	}
	p.compareOthers(frame, behind)
	var last *prepared // of those that have to be carried out first
	for _, r := range frame.Ranges {
		if before := behind[r.File]; before != nil && (last == nil || before.place.Number > last.place.Number) {
			last = before
		}
	}
	if last == nil {
		return nil
	}
	if err := p.await(last); err != nil {
		return err
	}
	return p.read(frame, func(r v1.Range) bool { return behind[r.File] != nil })
}

// changing gives for each of these files the last frame that may change what is read there and may
// not be carried out yet, nil for none.
func (p *preparation) changing(files []v1.File) []*prepared {
	all := make([]*prepared, len(files))
	for _, before := range p.pending {
		for i, changes := range before.changes(files) {
			if changes {
				all[i] = before
			}
		}
	}
	return all
}

// compareOthers compares what commands will read, as far as it is there already: what is not is for
// their turn.
func (p *preparation) compareOthers(frame *v1.Frame, behind []*prepared) {
	for number, file := range frame.Files {
		if _, compared := p.sources.compared[number]; compared || behind[number] != nil {
			continue
		}
		_, _ = p.sources.open(number, file)
	}
}

// read reads the wanted ranges of a frame to their places in its source.
func (p *preparation) read(frame *v1.Frame, wanted func(v1.Range) bool) error {
	place := p.source
	for _, r := range frame.Ranges {
		b := place[:r.Length]
		place = place[r.Length:]
		if !wanted(r) {
			continue
		}
		old, err := p.sources.open(r.File, frame.Files[r.File])
		if err != nil {
			return err
		}
		if err := p.readRange(b, old, frame.Files[r.File], r); err != nil {
			return err
		}
	}
	return nil
}

// readRange reads a range of a file, as its view says.
func (p *preparation) readRange(b []byte, old *oldFile, file v1.File, r v1.Range) error {
	if file.View.Method == v1.AsItIs {
		return old.fill(p.ctx, b, int64(r.Offset))
	}
	return p.unpacking.readAt(p.ctx, old, file, b, r.Offset)
}

// changes says of each of these files whether carrying out the frame may change what is read there. What
// commands read they read in their turn.
func (p *prepared) changes(files []v1.File) []bool {
	all := make([]bool, len(files))
	changed := map[string]bool{}
	for _, c := range p.frame.Commands {
		switch c := c.(type) {
		case v1.Write, v1.Directory, v1.Meta: // leave what is at the path, and below it, as it is
		case v1.Move:
			changed[c.Subject()], changed[c.From] = true, true
		default:
			changed[c.Subject()] = true
		}
	}
	for i := range files {
		all[i] = atOrBelow(files[i].Path, changed)
	}
	return all
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
