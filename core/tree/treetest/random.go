package treetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Random gives a pair of trees that have much in common: the second is the first
// with entries added, removed and changed in every respect. Both hold odd names,
// all kinds of entries but sockets, attributes and hard links.
func Random(seed uint64) (before, after []Item) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	before = g.fill(nil, "", 3)
	return before, g.change(before)
}

type generator struct {
	*rand.Rand
	names int
}

// odd are names that a careless program breaks on.
var odd = []string{
	"-rf", "...", ".hidden", "with space", "new\nline", "back\\slash", "\xff\xfe", "*", "ünï", "\x01", "~", "a'b\"c",
}

// name gives one that no other entry has.
func (g *generator) name() string {
	g.names++
	base := odd[g.IntN(len(odd))]
	name := fmt.Sprintf("%s%d", base, g.names)
	if g.IntN(20) == 0 {
		return name + strings.Repeat("n", 255-len(name))
	}
	return name
}

func (g *generator) fill(items []Item, dir string, depth int) []Item {
	for range 2 + g.IntN(6) {
		item := g.item(path.Join(dir, g.name()), depth)
		items = append(items, item)
		if item.Mode&unix.S_IFMT == unix.S_IFDIR {
			items = g.fill(items, item.Path, depth-1)
		}
	}
	return g.link(items, dir)
}

// link adds another name of one of the plain files, now and then.
func (g *generator) link(items []Item, dir string) []Item {
	if len(items) == 0 || g.IntN(3) > 0 {
		return items
	}
	first := items[g.IntN(len(items))]
	if first.Mode&unix.S_IFMT != unix.S_IFREG || first.Link != "" {
		return items
	}
	return append(items, Item{Path: path.Join(dir, g.name()), Mode: first.Mode, Link: first.Path})
}

// item gives one entry of any kind; a directory only where depth is left.
func (g *generator) item(path string, depth int) Item {
	i := Item{
		Path: path, Mode: File, UID: g.IntN(3) * 1000, GID: g.IntN(3) * 5,
		Mtime: g.time(), Nano: g.Int64N(1e9), Xattrs: g.attributes("user."),
	}
	kind := g.IntN(12)
	switch {
	case kind < 3 && depth > 0:
		i.Mode = unix.S_IFDIR | g.bits()
	case kind == 3:
		i.Mode, i.Target, i.Xattrs = Lnk, g.text(40)+"t", nil
	case kind == 4:
		i.Mode, i.Xattrs = unix.S_IFIFO|g.bits(), g.attributes("trusted.")
	case kind == 5:
		i.Mode, i.Rdev, i.Xattrs = unix.S_IFCHR|g.bits(), unix.Mkdev(g.Uint32N(300), g.Uint32N(3000)), g.attributes("trusted.")
	case kind == 6:
		i.Mode, i.Rdev, i.Xattrs = unix.S_IFBLK|g.bits(), unix.Mkdev(g.Uint32N(300), g.Uint32N(3000)), nil
	default:
		i.Mode, i.Content = unix.S_IFREG|g.bits(), g.text(3000)
	}
	return i
}

// bits gives permissions, now and then with set-user-ID, set-group-ID and sticky.
func (g *generator) bits() uint32 {
	return []uint32{0o644, 0o755, 0o600, 0, 0o4755, 0o2755, 0o1777, 0o7777}[g.IntN(8)]
}

func (g *generator) time() int64 {
	return []int64{0, 1, -1, -86400 * 365, 1700000000, 1 << 31, 1700000001}[g.IntN(7)]
}

// text has few different letters, so that contents have common ends.
func (g *generator) text(most int) string {
	b := make([]byte, g.IntN(most))
	for i := range b {
		b[i] = 'a' + byte(g.IntN(100)/98)
	}
	return string(b)
}

func (g *generator) attributes(namespace string) map[string]string {
	if g.IntN(3) > 0 {
		return nil
	}
	attributes := map[string]string{}
	for range g.IntN(4) {
		attributes[fmt.Sprintf("%sa%d", namespace, g.IntN(9))] = g.text(60)
	}
	return attributes
}

// change gives another version of the items.
func (g *generator) change(items []Item) []Item {
	var out []Item
	var hidden []string // directories that are no more
	for _, item := range items {
		if slices.ContainsFunc(hidden, func(h string) bool { return strings.HasPrefix(item.Path, h+"/") }) {
			continue
		}
		now, keep := g.changeOne(item)
		isDir := func(i Item) bool { return i.Mode&unix.S_IFMT == unix.S_IFDIR }
		if isDir(item) && (!keep || !isDir(now)) {
			hidden = append(hidden, item.Path)
		}
		if !keep {
			continue
		}
		out = append(out, now)
		if isDir(now) && g.IntN(3) == 0 {
			out = g.fill(out, now.Path, 1)
		}
	}
	return slices.DeleteFunc(out, func(i Item) bool {
		return i.Link != "" && !slices.ContainsFunc(out, func(o Item) bool { return o.Path == i.Link && o.Mode&unix.S_IFMT == unix.S_IFREG && o.Link == "" })
	})
}

// changeOne gives the item's next version, and whether there is one.
func (g *generator) changeOne(i Item) (Item, bool) {
	i.Xattrs = maps.Clone(i.Xattrs)
	if i.Link != "" && g.IntN(3) > 0 {
		return i, true
	}
	kind := i.Mode & unix.S_IFMT
	switch g.IntN(14) {
	case 0:
		return i, false
	case 1:
		return g.item(i.Path, 1), true // perhaps of another kind
	case 2:
		i.Nano = g.Int64N(1e9)
	case 3:
		i.Mtime = g.time()
	case 4:
		i.UID, i.GID = g.IntN(3)*1000, g.IntN(3)*5
	case 5:
		if kind != unix.S_IFLNK {
			i.Mode = kind | g.bits()
		}
	case 6:
		if kind == unix.S_IFREG || kind == unix.S_IFDIR {
			i.Xattrs = g.attributes("user.")
		}
	case 7, 8:
		if kind == unix.S_IFREG {
			i.Content = g.edit(i.Content)
		}
	case 9:
		i.Link = "" // its own file from now on
	}
	return i, true
}

// edit replaces a part of a text.
func (g *generator) edit(s string) string {
	start := g.IntN(len(s) + 1)
	end := start + g.IntN(len(s)-start+1)
	return s[:start] + g.text(200) + s[end:]
}
