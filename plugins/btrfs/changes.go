package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/ioctl"
	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/sendstream"
	"github.com/trebuchet-update/tbupdate/sdk"
)

func (p *plugin) Changes(ctx context.Context, a, b sdk.Identity, emit func(sdk.Change) error) error {
	const operation = "compare subvolumes"
	object := string(a) + " and " + string(b)
	v, err := p.begin(ctx, operation, object)
	if err != nil {
		return err
	}
	c, err := v.newComparison(a, b)
	if err != nil {
		return failure(operation, object, err)
	}
	defer c.close()
	tree, err := c.readStream(ctx)
	if err != nil {
		return failure(operation, object, err)
	}
	if err := c.report(ctx, tree, emit); err != nil {
		if c.emitFailed {
			return err // the caller's own, as it was
		}
		return failure(operation, object, err)
	}
	return nil
}

// comparison is one call of Changes: from the subvolume a to b.
type comparison struct {
	volume     *volume
	a, b       *subvolume
	old, new   *os.File // open on their top directories
	walked     map[string]bool
	emitFailed bool
}

func (v *volume) newComparison(a, b sdk.Identity) (*comparison, error) {
	all, err := v.readSubvolumes()
	if err != nil {
		return nil, err
	}
	c := &comparison{volume: v, walked: map[string]bool{}}
	if c.a, err = all.get(a); err != nil {
		return nil, err
	}
	if c.b, err = all.get(b); err != nil {
		return nil, err
	}
	for _, s := range []*subvolume{c.a, c.b} {
		if !s.readOnly {
			return nil, because(sdk.CodeInvalid, "%s is writable", s.name)
		}
	}
	if !all.related(c.a, c.b) {
		return nil, because(sdk.CodeUnsupported, "%s and %s have no common history", c.a.name, c.b.name)
	}
	if c.old, err = v.open(c.a); err != nil {
		return nil, err
	}
	if c.new, err = v.open(c.b); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// close releases the handles, which were open for reading only.
func (c *comparison) close() {
	c.old.Close()
	if c.new != nil {
		c.new.Close()
	}
}

// related reports whether two subvolumes descend from one. Also one that is gone
// counts: its UUID is still its snapshots' parent.
func (all subvolumes) related(a, b *subvolume) bool {
	lineOfA := all.line(a)
	for uuid := range all.line(b) {
		if lineOfA[uuid] {
			return true
		}
	}
	return false
}

// line gives the UUIDs of a subvolume and of what it descends from, as far back
// as is known.
func (all subvolumes) line(s *subvolume) map[[16]byte]bool {
	line := map[[16]byte]bool{}
	for s != nil && !line[s.uuid] {
		line[s.uuid] = true
		if s.parentUUID != ([16]byte{}) && all.byUUID(s.parentUUID) == nil {
			line[s.parentUUID] = true
		}
		s = all.byUUID(s.parentUUID)
	}
	delete(line, [16]byte{})
	return line
}

// readStream lets the kernel compare the trees, which takes time in proportion to
// what differs, and follows the names in its answer.
func (c *comparison) readStream(ctx context.Context) (*sendstream.Tree, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	sent := make(chan error, 1)
	go func() {
		err := ioctl.SendChanges(int(c.new.Fd()), c.a.id, int(writer.Fd()))
		writer.Close()
		sent <- err
	}()
	// With its reader closed the kernel stops, with EPIPE, at the next command.
	stop := context.AfterFunc(ctx, func() { reader.Close() })
	defer stop()

	tree, streamErr := followStream(reader)
	reader.Close()
	sendErr := <-sent
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case sendErr != nil && !errors.Is(sendErr, unix.EPIPE):
		return nil, fmt.Errorf("the kernel's send failed: %w", sendErr)
	case streamErr != nil:
		return nil, streamErr
	}
	return tree, sendErr
}

func followStream(source io.Reader) (*sendstream.Tree, error) {
	stream, err := sendstream.NewReader(source)
	if err != nil {
		return nil, err
	}
	tree := sendstream.NewTree()
	for {
		command, err := stream.Next()
		if err == io.EOF {
			return tree, nil
		}
		if err != nil {
			return nil, err
		}
		if err := tree.Apply(command); err != nil {
			return nil, err
		}
	}
}

// report emits all that the stream was about.
func (c *comparison) report(ctx context.Context, tree *sendstream.Tree, emit func(sdk.Change) error) error {
	guarded := func(change sdk.Change) error {
		err := emit(change)
		c.emitFailed = err != nil
		return err
	}
	for changed := range tree.Changed() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.reportOne(changed, guarded); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) reportOne(changed sendstream.Changed, emit func(sdk.Change) error) error {
	if changed.Old != "" && changed.Old != changed.New {
		// It moved, or went: with all that is below it.
		if err := c.reportTree(c.old, changed.Old, emit); err != nil {
			return err
		}
	}
	if changed.New == "" {
		return nil
	}
	if changed.Old != changed.New {
		return c.reportTree(c.new, changed.New, emit)
	}
	return c.reportFile(changed.New, emit)
}

// reportTree reports a path of the old or the new tree and all that is below it.
func (c *comparison) reportTree(side *os.File, name string, emit func(sdk.Change) error) error {
	key := side.Name() + "\x00" + name
	if c.walked[key] {
		return nil
	}
	c.walked[key] = true
	if err := c.reportFile(name, emit); err != nil {
		return err
	}
	st, err := stat(side, name)
	if err != nil || st == nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	names, err := readNames(side, name)
	if err != nil {
		return err
	}
	for _, entry := range names {
		if err := c.reportTree(side, path.Join(name, entry), emit); err != nil {
			return err
		}
	}
	return nil
}

// reportFile reports one path, and all other names that its file has in the new
// tree: the stream mentions one of them only.
func (c *comparison) reportFile(name string, emit func(sdk.Change) error) error {
	st, err := stat(c.new, name)
	if err != nil {
		return err
	}
	if err := c.reportPath(name, st != nil, emit); err != nil {
		return err
	}
	if st == nil || st.Nlink < 2 || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	names, err := c.volume.linksTo(c.b.id, st.Ino)
	if err != nil {
		return err
	}
	for _, other := range names {
		if other == name {
			continue
		}
		if err := c.reportPath(other, true, emit); err != nil {
			return err
		}
	}
	return nil
}

// reportPath says of a path what became of it. The trees are asked: a file that
// made room for another of its name is a change to whoever looks at paths, not a
// removal and an addition.
func (c *comparison) reportPath(name string, isNew bool, emit func(sdk.Change) error) error {
	st, err := stat(c.old, name)
	if err != nil {
		return err
	}
	switch isOld := st != nil; {
	case isOld && isNew:
		return emit(sdk.Change{Kind: sdk.ChangeModified, Path: name})
	case isNew:
		return emit(sdk.Change{Kind: sdk.ChangeAdded, Path: name})
	case isOld:
		return emit(sdk.Change{Kind: sdk.ChangeRemoved, Path: name})
	}
	return nil // a temporary name of the stream
}

// stat gives nil where nothing has the name.
func stat(top *os.File, name string) (*unix.Stat_t, error) {
	fd, err := openIn(top, name, unix.O_PATH)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, nil // ELOOP: what was a directory is a symbolic link in this tree
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return &st, nil
}

func readNames(top *os.File, name string) ([]string, error) {
	fd, err := openIn(top, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	directory := os.NewFile(uintptr(fd), name)
	defer directory.Close()
	return directory.Readdirnames(-1)
}

func openIn(top *os.File, name string, flags uint64) (int, error) {
	fd, err := unix.Openat2(int(top.Fd()), name, &unix.OpenHow{
		Flags:   flags | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: resolveBeneath,
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}
