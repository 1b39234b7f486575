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

// Read gives the snapshot of a name, of what is kept, or of what an earlier one holds and what
// changed since: nil for none. note is told, in a sentence, why more has to be read than that.
//
// Errors: a name that stands for nothing read-only, those of the plugin, and those of
// reading a tree (core/tree).
func (s Store) Read(ctx context.Context, volume sdk.FS, name string, earlier *Snapshot, note func(string)) (Snapshot, error) {
	about, err := volume.Volume(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	found, err := readOnly(ctx, volume, name)
	if err != nil {
		return Snapshot{}, err
	}
	is := Snapshot{Path: found.Path, identity: found.Identity}
	if is.Index = s.load(about, found); is.Index != nil {
		return is, nil
	}
	if earlier == nil {
		note(fmt.Sprintf("Nothing is known of %s yet: all of it is read.", name))
		is.Index, err = tree.ReadIndex(ctx, is.Path)
	} else {
		is.Index, err = earlier.revise(ctx, volume, &is)
		if errors.Is(err, sdk.ErrUnsupported) {
			note(fmt.Sprintf("%v: all of %s is read.", err, name))
			is.Index, err = tree.ReadIndex(ctx, is.Path)
		}
	}
	if err != nil {
		return Snapshot{}, err
	}
	return is, s.save(about, found, is.Index)
}

// revise reads what changed in a later snapshot.
func (earlier *Snapshot) revise(ctx context.Context, volume sdk.FS, later *Snapshot) (*tree.Index, error) {
	var changed []string
	err := volume.Changes(ctx, earlier.identity, later.identity, func(c sdk.Change) error {
		changed = append(changed, c.Path)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return earlier.Index.Revise(ctx, later.Path, changed)
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
