package delta

import (
	"context"
	"errors"
	"io"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/core/tree"
)

// Action says what a stream does to an entry.
type Action string

// The actions.
const (
	ActionCreate     Action = "create"
	ActionReplace    Action = "replace" // delete what has the name, then create
	ActionModify     Action = "modify"  // change content; metadata are set, too
	ActionMetadata   Action = "metadata"
	ActionAttributes Action = "attributes" // extended attributes, and nothing else
	ActionDelete     Action = "delete"     // a directory with all below it
)

// Change is what a stream does to one entry. Fields that the stream does not give
// for the action are zero.
type Change struct {
	Path   string // relative to the top, in the bytes of the stream
	Action Action
	Kind   tree.Kind // 0 where the stream does not tell: deletion, attributes

	// Data is the number of bytes of content that the stream carries.
	Data uint64
	// Start and End, of ActionModify, say which bytes of the old content the data
	// take the place of.
	Start, End uint32

	// Mask says what ActionMetadata and ActionModify change of Mtime, UID, GID
	// and Mode. A creation sets all.
	Mask     tbdiff.Mask
	Mtime    int64 // seconds since 1970
	UID, GID uint32
	Mode     uint32 // whole st_mode; 0 for a symbolic link, which has none
	Target   string // of a symbolic link
	Rdev     uint32 // of a device

	// Attributes are the extended ones that the entry has afterwards, if
	// SetsAttributes.
	SetsAttributes bool
	Attributes     []tbdiff.Xattr
}

// Totals sum up a stream.
type Totals struct {
	Commands int
	Bytes    int64          // of the whole stream
	Data     uint64         // bytes of content in it
	Changes  map[Action]int // how many entries, by action
}

// Inspect reads a stream to its end and calls each for every entry that it changes,
// in its order. Entering and leaving a directory is not a change, though leaving
// sets the modification time. Commands that follow each other and are about one
// entry make one change.
//
// Errors are the Reader's, each's and the context's.
func Inspect(ctx context.Context, r *tbdiff.Reader, each func(Change) error) (Totals, error) {
	i := &inspection{each: each, totals: Totals{Changes: map[Action]int{}}}
	for {
		if err := ctx.Err(); err != nil {
			return i.totals, err
		}
		directory := r.Path()
		command, err := r.Next()
		if errors.Is(err, io.EOF) {
			i.totals.Bytes = r.Offset()
			return i.totals, i.flush()
		}
		if err != nil {
			return i.totals, err
		}
		i.totals.Commands++
		if err := i.take(directory, command); err != nil {
			return i.totals, err
		}
	}
}

// inspection joins commands to changes.
type inspection struct {
	each   func(Change) error
	totals Totals
	last   Change // not given to each yet: the next command may belong to it
}

func (i *inspection) take(directory string, command tbdiff.Command) error {
	change, ok := changeOf(command)
	if !ok {
		return i.flush()
	}
	if directory != "" {
		change.Path = directory + "/" + change.Path
	}
	i.totals.Data += change.Data
	if i.last.Path == change.Path {
		switch {
		case i.last.Action == ActionDelete && change.Action == ActionCreate:
			change.Action = ActionReplace
			i.last = change
			return nil
		case i.last.Action != ActionDelete && change.Action == ActionAttributes:
			i.last.SetsAttributes, i.last.Attributes = true, change.Attributes
			return nil
		}
	}
	err := i.flush()
	i.last = change
	return err
}

// flush gives the last change away.
func (i *inspection) flush() error {
	if i.last.Action == "" {
		return nil
	}
	change := i.last
	i.last = Change{}
	i.totals.Changes[change.Action]++
	return i.each(change)
}

// changeOf translates one command. It reports false for those that change no entry.
// The path is only the name.
func changeOf(command tbdiff.Command) (Change, bool) {
	switch c := command.(type) {
	case tbdiff.DirCreate:
		return Change{Path: c.Name, Action: ActionCreate, Kind: tree.KindDirectory,
			Mtime: int64(c.Mtime), UID: c.UID, GID: c.GID, Mode: c.Mode}, true
	case tbdiff.DirDelta:
		return Change{Path: c.Name, Action: ActionMetadata, Kind: tree.KindDirectory,
			Mask: c.Mask, Mtime: int64(c.Mtime), UID: c.UID, GID: c.GID, Mode: c.Mode}, true
	case tbdiff.FileCreate:
		return Change{Path: c.Name, Action: ActionCreate, Kind: tree.KindFile, Data: uint64(c.Size),
			Mtime: int64(c.Mtime), UID: c.UID, GID: c.GID, Mode: c.Mode}, true
	case tbdiff.FileDelta:
		return Change{Path: c.Name, Action: ActionModify, Kind: tree.KindFile, Data: uint64(c.Size), Start: c.Start, End: c.End,
			Mask: c.Mask, Mtime: int64(c.Mtime), UID: c.UID, GID: c.GID, Mode: c.Mode}, true
	case tbdiff.FileMetadata:
		return Change{Path: c.Name, Action: ActionMetadata, Kind: tree.KindFile,
			Mask: c.Mask, Mtime: int64(c.Mtime), UID: c.UID, GID: c.GID, Mode: c.Mode}, true
	case tbdiff.SymlinkCreate:
		return Change{Path: c.Name, Action: ActionCreate, Kind: tree.KindSymlink, Target: c.Target,
			Mtime: int64(c.Mtime), UID: c.UID, GID: c.GID}, true
	case tbdiff.SpecialCreate:
		return Change{Path: c.Name, Action: ActionCreate, Kind: tree.Kind(c.Mode & typeBits), Rdev: c.Rdev,
			Mtime: int64(c.Mtime), UID: c.UID, GID: c.GID, Mode: c.Mode}, true
	case tbdiff.EntityDelete:
		return Change{Path: c.Name, Action: ActionDelete}, true
	case tbdiff.XattrsUpdate:
		return Change{Path: c.Name, Action: ActionAttributes, SetsAttributes: true, Attributes: c.Attributes}, true
	}
	return Change{}, false
}

// typeBits are those of a mode that say what kind of entry it is (inode(7)).
const typeBits = 0o170000
