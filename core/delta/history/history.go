// Package history knows what two snapshots hold without reading both: what the filesystem
// says has changed from one to the other is read, and the rest is known from before.
//
// What is known of a snapshot is its index (core/tree). It is kept in a directory, by what
// proves that the snapshot is as it was: the volume, the subvolume's identity and its
// revision. Such a directory may be deleted at any time.
package history

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/trebuchet-update/tbupdate/core/tree"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// Snapshot is a read-only subvolume, and all that it holds.
type Snapshot struct {
	Path  string // of its top, until the plugin is closed
	Index *tree.Index

	identity sdk.Identity
}

// Store is the directory of kept indexes; "" keeps none.
type Store string

// kept is how many indexes a Store keeps: those that were used last.
const kept = 32

// Read hands the snapshots of these names to use, each with what it holds: what is kept of
// it, or what the one before it holds and what changed since. note is told, in sentences,
// why more has to be read than that, and what cannot be kept.
//
// Errors: a name that stands for nothing read-only, those of the plugin, those of reading a
// tree (core/tree), and use's own.
func (s Store) Read(ctx context.Context, volume sdk.FS, names []string, note func(string), use func([]Snapshot) error) error {
	about, err := volume.Volume(ctx)
	if err != nil {
		return err
	}
	r := &reading{volume: volume, note: note}
	for _, name := range names {
		found, err := readOnly(ctx, volume, name)
		if err != nil {
			return err
		}
		// The filesystem is asked and what it says is read, while the rest is loaded.
		r.names = append(r.names, name)
		r.snapshots = append(r.snapshots, Snapshot{Path: found.Path, identity: found.Identity})
		r.kept = append(r.kept, begin(func() *tree.Index { return s.load(about, found) }))
		r.keep = append(r.keep, func(index *tree.Index) error { return s.save(about, found, index) })
	}
	err = r.know(ctx, len(names)-1)
	if err == nil {
		err = use(r.snapshots)
	}
	for _, saved := range r.saving {
		if err := saved(); err != nil {
			note(err.Error() + ".")
		}
	}
	return err
}

// begin runs f beside what follows; what it gives is there when f is done.
func begin[T any](f func() T) func() T {
	f = sync.OnceValue(f)
	go f()
	return f
}

// reading is one call of Read.
type reading struct {
	volume sdk.FS
	note   func(string)

	names     []string
	snapshots []Snapshot
	kept      []func() *tree.Index
	keep      []func(*tree.Index) error
	saving    []func() error
}

// know fills in what a snapshot and those before it hold.
func (r *reading) know(ctx context.Context, i int) error {
	if i < 0 {
		return nil
	}
	is := &r.snapshots[i]
	var changed []string
	whole := fmt.Sprintf("Nothing is known of %s yet: all of it is read.", r.names[i])
	if i > 0 {
		if is.Index = r.kept[i](); is.Index == nil {
			var err error
			switch changed, err = r.changes(ctx, i); {
			case err == nil:
				whole = ""
			case errors.Is(err, sdk.ErrUnsupported):
				whole = fmt.Sprintf("%v: all of %s is read.", err, r.names[i])
			default:
				return err
			}
		}
	}
	if err := r.know(ctx, i-1); err != nil {
		return err
	}
	if i == 0 {
		is.Index = r.kept[i]()
	}
	if is.Index != nil {
		return nil
	}
	var err error
	if whole == "" {
		is.Index, err = r.snapshots[i-1].Index.Revise(ctx, is.Path, changed)
	} else {
		r.note(whole)
		is.Index, err = tree.ReadIndex(ctx, is.Path)
	}
	if err != nil {
		return err
	}
	is.Index.Freeze()
	r.saving = append(r.saving, begin(func() error { return r.keep[i](is.Index) }))
	return nil
}

// changes gives the paths at which a snapshot differs from the one before it.
func (r *reading) changes(ctx context.Context, i int) (changed []string, err error) {
	err = r.volume.Changes(ctx, r.snapshots[i-1].identity, r.snapshots[i].identity, func(c sdk.Change) error {
		changed = append(changed, c.Path)
		return nil
	})
	return changed, err
}

// readOnly finds a snapshot, of which nothing can be known while it may be written to.
func readOnly(ctx context.Context, volume sdk.FS, name string) (sdk.Subvolume, error) {
	found, err := volume.Lookup(ctx, name)
	if err == nil && !found.ReadOnly {
		err = fmt.Errorf("%s is writable: name a read-only snapshot of it", name)
	}
	return found, err
}

// file gives the path of a snapshot's index, "" for none.
func (s Store) file(about sdk.Volume, of sdk.Subvolume) string {
	if s == "" || of.Revision == "" {
		return ""
	}
	sum := sha256.New()
	for _, part := range []string{about.Kind, about.ID, string(of.Identity), of.Revision} {
		fmt.Fprintf(sum, "%q\n", part)
	}
	return filepath.Join(string(s), hex.EncodeToString(sum.Sum(nil))+".index")
}

// load gives the index that is kept of a snapshot; nil for none, or for what is not whole.
func (s Store) load(about sdk.Volume, of sdk.Subvolume) *tree.Index {
	name := s.file(about, of)
	if name == "" {
		return nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	index, err := tree.ReadStored(content)
	if err != nil {
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(name, now, now) // one that cannot be marked as used goes earlier
	return index
}

// save keeps the index of a snapshot.
func (s Store) save(about sdk.Volume, of sdk.Subvolume, index *tree.Index) (err error) {
	name := s.file(about, of)
	if name == "" {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot keep what is known of %s: %w", of.Name, err)
		}
	}()
	if err := os.MkdirAll(string(s), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(string(s), ".new-*")
	if err != nil {
		return err
	}
	err = index.Store(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	if err := os.Rename(file.Name(), name); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return s.prune()
}

// prune removes indexes that were not used for longest.
func (s Store) prune() error {
	names, err := filepath.Glob(filepath.Join(string(s), "*.index"))
	if err != nil {
		return err
	}
	used := map[string]time.Time{}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			used[name] = info.ModTime()
		}
	}
	slices.SortFunc(names, func(a, b string) int { return used[b].Compare(used[a]) })
	for _, name := range names[min(len(names), kept):] {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
