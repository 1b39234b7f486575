package rootfs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
)

// Memory is what a program that deploys needs in all, in bytes, whatever the files' sizes:
// a frame's source, the contents of three, what is stored of one and what is unpacked of that, and the rest of
// the program. A limit of so much (runtime/debug.SetMemoryLimit) keeps garbage from adding to that.
const Memory = 48 << 20

// DeployStream carries out a stream of any version: its first bytes tell which.
func (t *Tree) DeployStream(ctx context.Context, stream io.Reader, options Options) (Stats, error) {
	source := bufio.NewReader(stream)
	// What is too short for a version 1 is for version 0 to complain of.
	if magic, _ := source.Peek(len(v1.Magic)); string(magic) != v1.Magic {
		return t.Deploy(ctx, tbdiff.NewReader(source), options)
	}
	frames, err := v1.NewReader(source)
	if err != nil {
		return Stats{}, err
	}
	return t.DeployFrames(ctx, frames, options)
}

// DeployFrames carries out a stream of version 1, in the tree that it was made for. What
// is said of Deploy holds here as well, but that everything comes out as the stream's
// target has it, the top's own metadata included.
//
// Every file that the stream reads is compared with the digest that the stream has for
// it before anything is made of it, and so is every file that it makes. An error names
// the frame, the command and the path. The stream is read from another goroutine, two frames
// ahead, and never after DeployFrames has returned: an error in carrying out a frame waits for what
// is being read of the next.
func (t *Tree) DeployFrames(ctx context.Context, stream *v1.Reader, options Options) (Stats, error) {
	if stream.Header().Origin == nil {
		if err := checkEmpty(t.top); err != nil {
			return Stats{}, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	seen := &memory{}
	frames := prepare(ctx, stream, newSources(ctx, t.top, seen))
	d := &frameDeployment{
		deployment: deployment{ctx: ctx, trail: newTrail(t.top), buffer: make([]byte, bufferSize), report: options.Progress},
		sources:    newSources(ctx, t.top, seen),
		gathered:   make([]byte, 0, gatherTo),
	}
	d.offset = func() int64 { return d.at.place.Offset }
	defer func() {
		cancel()
		frames.wait()
		d.close()
	}()
	for {
		err := d.next(frames)
		if err == io.EOF {
			return d.stats, nil
		}
		if err != nil {
			return d.stats, err
		}
	}
}

// checkEmpty makes sure that a stream which makes a tree from nothing does so.
func checkEmpty(top int) error {
	handle, err := unix.Openat(top, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(handle)
	names, err := listDirectory(handle)
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("%w: it makes a tree from nothing, and there is %q", ErrOriginMismatch, names[0])
	}
	return err
}

// frameDeployment is one run of DeployFrames.
type frameDeployment struct {
	deployment
	sources *sources
	at      *prepared // the frame at hand
	begun   *making   // the file that WRITE commands began, nil for none
	// gathered is what a file gathers in.
	gathered []byte
}

func (d *frameDeployment) close() {
	if d.begun != nil {
		d.begun.discard()
	}
	d.sources.close()
	d.trail.close()
}

// next carries out the next frame. It gives io.EOF behind the last.
func (d *frameDeployment) next(frames *preparation) error {
	var err error
	if d.at, err = frames.next(); err != nil {
		return err
	}
	d.sources.begin(d.at.compared)
	for _, c := range d.at.frame.Commands {
		err := context.Cause(d.ctx)
		if err == nil {
			if err = d.command(c); err != nil {
				err = fmt.Errorf("%s for %q: %w", c.Op(), c.Subject(), err)
			}
		}
		if err != nil {
			return d.at.place.Locate(err)
		}
		d.at.carried.add()
		d.stats.Commands++
		d.progress()
	}
	return nil
}

// command goes to the directory of the command's path, and carries it out there.
func (d *frameDeployment) command(c v1.Command) error {
	defer d.sources.release()
	directory, name := split(c.Subject())
	if err := d.trail.to(directory); err != nil {
		return err
	}
	if err := d.expect(c, name); err != nil {
		return err
	}
	switch c := c.(type) {
	case v1.Directory:
		return d.directory(name, &c.Metadata)
	case v1.Write:
		return d.write(name, c.Parts)
	case v1.PlainFile:
		return d.plainFile(name, &c)
	case v1.Symlink:
		return d.put(name, func(as string) error { return unix.Symlinkat(c.Target, d.trail.here(), as) }, &c.Metadata)
	case v1.Device:
		return d.device(name, &c)
	case v1.FIFO:
		return d.put(name, func(as string) error { return unix.Mknodat(d.trail.here(), as, unix.S_IFIFO|privateFile, 0) }, &c.Metadata)
	case v1.Link:
		return d.link(name, c.To)
	case v1.Move:
		return d.move(name, &c)
	case v1.Meta:
		return d.meta(name, &c)
	case v1.Delete:
		return remove(d.ctx, d.trail.here(), name)
	}
	return fmt.Errorf("%w: it cannot be carried out", tbdiff.ErrMalformed)
}

// expect makes sure that what a command finds at its path, name in the directory at hand, is what
// the stream says, if it says anything.
func (d *frameDeployment) expect(c v1.Command, name string) error {
	number, ok := v1.BeforeOf(c).File()
	if !ok {
		return nil
	}
	if file := d.at.frame.Files[number]; file.Path == c.Subject() && d.sources.sawAt(d.trail.here(), name, number, file) {
		return nil
	}
	return d.verify(number)
}

// verify makes sure that a file of the frame's list is what the stream says.
func (d *frameDeployment) verify(number int) error {
	_, err := d.sources.open(number, d.at.frame.Files[number])
	return err
}

// split gives the directory and the last component of a path.
func split(path string) (directory, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}
