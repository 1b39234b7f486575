package rootfs

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

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
	unpacking unpacking   // the file that was read last of those that are packed
	unpacker  v1.Unpacker // of contents
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
	carried  carried
}

// carried counts the commands of a frame that were carried out. One goroutine may wait for some of them.
type carried struct {
	mu    sync.Mutex
	out   int
	want  int
	there chan struct{} // closed once want are carried out; nil while nobody waits
}

// add counts one.
func (c *carried) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out++; c.there != nil && c.out >= c.want {
		close(c.there)
		c.there = nil
	}
}

// wait waits until so many were carried out, or the context ends.
func (c *carried) wait(ctx context.Context, want int) error {
	c.mu.Lock()
	if c.out >= want {
		c.mu.Unlock()
		return nil
	}
	there := make(chan struct{})
	c.want, c.there = want, there
	c.mu.Unlock()
	select {
	case <-there:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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
		now := &prepared{frame: frame, place: p.stream.Place(), compared: map[int]seen{}}
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
		last := p.pending[n-1]
		err = cmp.Or(last.carried.wait(p.ctx, len(last.frame.Commands)), err)
	}
	return err
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
	if err := p.read(frame, func(r v1.Range) bool { return behind[r.File] == change{} }); err != nil {
		return err
	}
	p.compareOthers(frame, behind)
	var last change // of those that have to be carried out first
	for _, r := range frame.Ranges {
		if before := behind[r.File]; before.after(last) {
			last = before
		}
	}
	if last == (change{}) {
		return nil
	}
	if err := last.frame.carried.wait(p.ctx, last.commands); err != nil {
		return err
	}
	return p.read(frame, func(r v1.Range) bool { return behind[r.File] != change{} })
}

// change is when something is changed: by the last of so many commands of a frame. The zero change is none.
type change struct {
	frame    *prepared
	commands int
}

func (c change) after(other change) bool {
	if c.frame == other.frame {
		return c.commands > other.commands
	}
	return other.frame == nil || c.frame != nil && c.frame.place.Number > other.frame.place.Number
}

// changing gives for each of these files the last change of what is read there that may not be carried
// out yet.
func (p *preparation) changing(files []v1.File) []change {
	all := make([]change, len(files))
	for _, before := range p.pending {
		for i, commands := range before.changes(files) {
			if commands > 0 {
				all[i] = change{before, commands}
			}
		}
	}
	return all
}

// compareOthers compares what commands will read, as far as it is there already: what is not is for
// their turn.
func (p *preparation) compareOthers(frame *v1.Frame, behind []change) {
	for number, file := range frame.Files {
		if _, compared := p.sources.compared[number]; compared || behind[number] != (change{}) {
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

// changes gives for each of these files after how many commands the frame does not change any more
// what is read there; 0 where it never does. What commands read they read in their turn.
func (p *prepared) changes(files []v1.File) []int {
	all := make([]int, len(files))
	changed := map[string]int{}
	for i, c := range p.frame.Commands {
		switch c := c.(type) {
		case v1.Write, v1.Directory, v1.Meta: // leave what is at the path, and below it, as it is
		case v1.Move:
			changed[c.Subject()], changed[c.From] = i+1, i+1
		default:
			changed[c.Subject()] = i + 1
		}
	}
	for i := range files {
		all[i] = lastAt(files[i].Path, changed)
	}
	return all
}

// lastAt gives the largest of the numbers that a path has, or a directory that it is in.
func lastAt(path string, numbers map[string]int) int {
	last := numbers[path]
	for above := strings.LastIndexByte(path, '/'); above >= 0; above = strings.LastIndexByte(path, '/') {
		path = path[:above]
		last = max(last, numbers[path])
	}
	return last
}
