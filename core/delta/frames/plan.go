package frames

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	v1 "github.com/trebuchet-update/tbupdate/core/tbdiff/v1"
	"github.com/trebuchet-update/tbupdate/core/tree"
)

// step is one thing to do, in the order of the stream. Either command is what to do,
// or file is a plain file whose content is still to be put together.
type step struct {
	command v1.Command
	file    *tree.Indexed
}

// planner finds out what makes one tree of another.
//
// While the stream is carried out, a path holds what the origin has there until its
// step, and what the target has from then on. Whoever takes something from another
// path has to know which: origin and target are sorted alike, so comparing paths
// tells.
type planner struct {
	was, is *tree.Index
	// pairs are the paths at which something is to be done, or may be: all at which the
	// trees differ, those of inodes with several names, and sockets.
	pairs []pair
	// several are the first paths of inodes with several names, in either tree.
	several map[string]bool

	// late are paths of the target whose turn comes when all others are there: what is
	// packed in them is made from those.
	late map[string]bool

	steps   []step
	after   []step   // of what is late
	sockets []string // paths of those in the target, which are not made
	// claimed are inodes of the origin that go on as inodes of the target: the first
	// path of either, by that of the origin. One that no pair has goes on where it is.
	claimed map[string]string
	// placed are first paths of the target whose inode is one of the origin: that
	// one's first path.
	placed map[string]string
	// replaced are paths of the origin that are deleted before their turn, since
	// something of another type comes there.
	replaced map[string]bool
	// moved are paths of the origin that something was moved away from.
	moved map[string]bool
	// touched are directories of the target in which something is made or removed.
	touched map[string]bool
	// gone and staying are paths of the origin's plain files by their content: those
	// without a successor, and the others. They have the contents that a pair wants.
	gone, staying map[v1.Digest][]string
}

// pair is what a path has in both trees, nil for nothing.
type pair struct{ old, new *tree.Indexed }

func newPlanner(was, is *tree.Index) *planner {
	p := &planner{
		was: was, is: is, several: map[string]bool{},
		claimed: map[string]string{}, placed: map[string]string{},
		replaced: map[string]bool{}, moved: map[string]bool{}, touched: map[string]bool{},
		gone: map[v1.Digest][]string{}, staying: map[v1.Digest][]string{},
	}
	for _, x := range []*tree.Index{was, is} {
		for i := range x.Entries {
			if first := x.Entries[i].First; first != "" {
				p.several[first] = true
			}
		}
	}
	wanted := map[v1.Digest]bool{}
	tree.Join(was, is, func(old, new *tree.Indexed) {
		if old != nil && new != nil && p.stays(old, new) {
			return
		}
		p.pairs = append(p.pairs, pair{old, new})
		if new != nil && new.Kind() == tree.KindFile {
			wanted[new.Content] = true
		}
	})
	for i := range was.Entries {
		e := &was.Entries[i]
		if e.Kind() != tree.KindFile || e.Size == 0 || !wanted[e.Content] {
			continue
		}
		if is.Find(e.Path) == nil {
			p.gone[e.Content] = append(p.gone[e.Content], e.Path)
		} else {
			p.staying[e.Content] = append(p.staying[e.Content], e.Path)
		}
	}
	return p
}

// stays reports whether there is nothing to do or to say about a path.
func (p *planner) stays(old, new *tree.Indexed) bool {
	return old.First == "" && new.First == "" && !p.several[old.Path] && new.Kind() != tree.KindSocket &&
		old.Kind() == new.Kind() && sameMatter(old, new) && differing(&old.Entry, &new.Entry) == 0
}

// sameMatter reports whether two entries are the same but for metadata.
func sameMatter(a, b *tree.Indexed) bool {
	return a.Kind() == b.Kind() && a.Content == b.Content && a.Size == b.Size && a.Target == b.Target && a.Rdev == b.Rdev
}

// firstOf gives the first path of an entry's inode.
func firstOf(e *tree.Indexed) string { return cmp.Or(e.First, e.Path) }

// plan gives the steps.
func (p *planner) plan() []step {
	for _, at := range p.pairs {
		switch {
		case at.new == nil:
		case at.new.Kind() == tree.KindSocket:
			p.socket(at.old, at.new)
		default:
			p.entry(at.old, at.new)
		}
	}
	p.steps = append(p.steps, p.after...)
	p.deletions()
	p.directories()
	return p.steps
}

// before reports whether a path has its turn before another one.
func (p *planner) before(path, turn string) bool {
	if late := p.late[path]; late != p.late[turn] {
		return !late
	}
	return tree.ComparePaths(path, turn) < 0
}

func (p *planner) do(c v1.Command) { p.steps = append(p.steps, step{command: c}) }

// touch notes that the directory of a path changes.
func (p *planner) touch(path string) { p.touched[parent(path)] = true }

// parent gives the directory of a path, "" for the top.
func parent(path string) string {
	return path[:max(strings.LastIndexByte(path, '/'), 0)]
}

// socket leaves one out, and what the origin has in its place.
func (p *planner) socket(old, e *tree.Indexed) {
	p.sockets = append(p.sockets, e.Path)
	if old != nil && old.Kind() != tree.KindSocket {
		p.do(v1.Delete{Path: v1.Path(e.Path)})
		p.replaced[e.Path] = true
		p.touch(e.Path)
	}
}

// entry makes one. A socket of the origin need not be there on the machine: it is no obstacle to
// whoever carries out the stream.
func (p *planner) entry(old, e *tree.Indexed) {
	if old != nil && old.Kind() == tree.KindSocket {
		old = nil
	}
	if old != nil && (old.Kind() == tree.KindDirectory) != (e.Kind() == tree.KindDirectory) {
		p.do(v1.Delete{Path: v1.Path(e.Path)})
		p.replaced[e.Path] = true
		old = nil
	}
	if e.Kind() == tree.KindDirectory {
		p.directory(old, e)
		return
	}
	if e.First != "" {
		p.further(old, e)
		return
	}
	if old != nil && p.claim(old, e) {
		p.metadata(old, e)
		return
	}
	if p.move(e) {
		return
	}
	p.make(e)
}

func (p *planner) directory(old, e *tree.Indexed) {
	if old == nil {
		p.touch(e.Path)
	}
	if old == nil || differing(&old.Entry, &e.Entry)&^v1.MaskTime != 0 {
		p.do(v1.Directory{Path: v1.Path(e.Path), Metadata: metadataOf(&e.Entry)})
	} else if old.Modified != e.Modified {
		p.touched[e.Path] = true
	}
}

// further makes a hard link to the first of its names, unless it is one already.
func (p *planner) further(old, e *tree.Indexed) {
	if inode, ok := p.placed[e.First]; ok && old != nil && firstOf(old) == inode {
		return
	}
	p.do(v1.Link{Path: v1.Path(e.Path), To: e.First})
	p.touch(e.Path)
}

// claim has the inode of the origin go on as that of the target, if it is the same but
// for metadata and no other has it yet. Names of it that do not belong to the target's
// are given something else when it is their turn.
func (p *planner) claim(old, e *tree.Indexed) bool {
	if !sameMatter(old, e) {
		return false
	}
	inode := firstOf(old)
	if _, taken := p.claimed[inode]; taken {
		return false
	}
	p.claimed[inode], p.placed[e.Path] = e.Path, inode
	return true
}

// metadata changes what differs of an inode that goes on.
func (p *planner) metadata(old, e *tree.Indexed) {
	mask := differing(&old.Entry, &e.Entry)
	if mask == 0 {
		return
	}
	p.do(v1.Meta{Path: v1.Path(e.Path), Mask: mask, Metadata: masked(metadataOf(&e.Entry), mask)})
}

// move takes a plain file that goes away somewhere else, if there is one with this
// content.
func (p *planner) move(e *tree.Indexed) bool {
	if e.Kind() != tree.KindFile {
		return false
	}
	for _, from := range p.gone[e.Content] {
		old := p.was.Find(from)
		if p.moved[from] || !p.stands(from, e.Path) || !p.claim(old, e) {
			continue
		}
		p.moved[from] = true
		p.do(v1.Move{Path: v1.Path(e.Path), From: from})
		p.touch(e.Path)
		p.touch(from)
		p.metadata(old, e)
		return true
	}
	return false
}

// stands reports whether what the origin has at a path that the target does not have
// is still there when it is the turn of another.
func (p *planner) stands(path, turn string) bool {
	for above := path; above != ""; above = parent(above) {
		if p.replaced[above] && (p.late[turn] || tree.ComparePaths(above, turn) <= 0) {
			return false
		}
	}
	return !p.moved[path]
}

// make makes something new, which replaces what is there.
func (p *planner) make(e *tree.Indexed) {
	p.touch(e.Path)
	path, m := v1.Path(e.Path), metadataOf(&e.Entry)
	switch e.Kind() {
	case tree.KindFile:
		if p.late[e.Path] {
			p.after = append(p.after, step{file: e})
		} else {
			p.steps = append(p.steps, step{file: e})
		}
	case tree.KindSymlink:
		p.do(v1.Symlink{Path: path, Metadata: m, Target: e.Target})
	case tree.KindFIFO:
		p.do(v1.FIFO{Path: path, Metadata: m})
	default:
		major, minor := e.DeviceNumbers()
		p.do(v1.Device{Path: path, Metadata: m, Block: e.Kind() == tree.KindBlock, Major: major, Minor: minor})
	}
}

// deletions removes what only the origin has, each tree by its top.
func (p *planner) deletions() {
	for _, at := range p.pairs {
		if at.new != nil || p.moved[at.old.Path] || at.old.Kind() == tree.KindSocket {
			continue
		}
		path := at.old.Path
		if above := parent(path); above != "" {
			if in := p.is.Find(above); in == nil || in.Kind() != tree.KindDirectory {
				continue // gone with what it is in
			}
		}
		p.do(v1.Delete{Path: v1.Path(path)})
		p.touch(path)
	}
}

// directories gives directories their times back, when nothing else is done in them.
func (p *planner) directories() {
	for _, path := range slices.SortedFunc(maps.Keys(p.touched), tree.ComparePaths) {
		if e := p.is.Find(path); e != nil && e.Kind() == tree.KindDirectory {
			p.do(v1.Meta{Path: v1.Path(path), Mask: v1.MaskTime, Metadata: masked(metadataOf(&e.Entry), v1.MaskTime)})
		}
	}
	mask := differing(&p.was.Top, &p.is.Top)
	if p.touched[""] {
		mask |= v1.MaskTime
	}
	if mask != 0 {
		p.do(v1.Meta{Mask: mask, Metadata: masked(metadataOf(&p.is.Top), mask)})
	}
}

// metadataOf gives an entry's metadata as the format has them.
func metadataOf(e *tree.Entry) v1.Metadata {
	m := v1.Metadata{
		Mode: e.Mode & 0o7777, UID: e.UID, GID: e.GID,
		Seconds: e.Modified.Seconds, Nanoseconds: e.Modified.Nanoseconds,
	}
	if e.Kind() == tree.KindSymlink {
		m.Mode = 0o777
	}
	for _, x := range e.Xattrs {
		m.Attributes = append(m.Attributes, v1.Attribute(x))
	}
	return m
}

// masked gives the fields that mask names, and leaves the others out.
func masked(m v1.Metadata, mask v1.Mask) v1.Metadata {
	var kept v1.Metadata
	if mask&v1.MaskMode != 0 {
		kept.Mode = m.Mode
	}
	if mask&v1.MaskUID != 0 {
		kept.UID = m.UID
	}
	if mask&v1.MaskGID != 0 {
		kept.GID = m.GID
	}
	if mask&v1.MaskTime != 0 {
		kept.Seconds, kept.Nanoseconds = m.Seconds, m.Nanoseconds
	}
	if mask&v1.MaskAttributes != 0 {
		kept.Attributes = m.Attributes
	}
	return kept
}

// differing gives the mask of the metadata in which two entries of one kind differ.
func differing(a, b *tree.Entry) v1.Mask {
	var mask v1.Mask
	if a.Mode&0o7777 != b.Mode&0o7777 && a.Kind() != tree.KindSymlink {
		mask |= v1.MaskMode
	}
	if a.UID != b.UID {
		mask |= v1.MaskUID
	}
	if a.GID != b.GID {
		mask |= v1.MaskGID
	}
	if a.Modified != b.Modified {
		mask |= v1.MaskTime
	}
	if !tree.EqualXattrs(a.Xattrs, b.Xattrs) {
		mask |= v1.MaskAttributes
	}
	return mask
}
