// Package evidence keeps what says why a generation failed: the results of its health
// checks, the kernel's log, the journal, and what a crash left.
//
// It is never the reason that anything else fails: what cannot be had or has no room is
// left out, and said. It can be repeated, and cut short at any instant: files are
// written beside their names and renamed, and what is there already is written again.
package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// reserve is the room that has to be left on the volume, in bytes: evidence must not
// take it from an update.
const reserve = 16 << 20

// maxFiles bounds how many files are kept of one generation.
const maxFiles = 64

// Store keeps evidence, in a directory for each generation.
type Store struct {
	directory string
	limit     int64
}

// NewStore works in this directory, which is made when there is something to keep.
// limit bounds each file, in bytes; 0 keeps nothing.
func NewStore(directory string, limit int64) *Store {
	return &Store{directory: directory, limit: limit}
}

// File is one piece of evidence.
type File struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// ErrNoRoom says that the volume is too full for evidence.
var ErrNoRoom = errors.New("there is no room for evidence")

// Keep writes a file durably, replacing one of the same name. Of what is longer than
// the limit the end is kept.
func (s *Store) Keep(generation, name string, content []byte) error {
	if s.limit == 0 || len(content) == 0 {
		return nil
	}
	content = content[max(0, int64(len(content))-s.limit):]
	if err := s.keep(generation, cleanName(name), content); err != nil {
		return fmt.Errorf("cannot keep %s: %w", name, err)
	}
	return nil
}

func (s *Store) keep(generation, name string, content []byte) error {
	directory := s.path(generation)
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	if files, err := s.List(generation); err != nil || len(files) >= maxFiles {
		return cmp.Or(err, fmt.Errorf("there are %d files already", len(files)))
	}
	var st unix.Statfs_t
	if err := unix.Statfs(directory, &st); err != nil {
		return err
	}
	if st.Bavail*uint64(st.Bsize) < reserve+2*uint64(len(content)) {
		return ErrNoRoom
	}
	return replace(filepath.Join(directory, name), content)
}

// nextSuffix marks a file that is not whole yet.
const nextSuffix = ".next"

// replace writes beside the file and renames over it, both flushed: a file that has
// its name is whole, so that its source may go.
func replace(path string, content []byte) (err error) {
	next := path + nextSuffix
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	err = cmp.Or(err, f.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next)
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// List gives the files that are kept of a generation, sorted by name.
func (s *Store) List(generation string) ([]File, error) {
	entries, err := os.ReadDir(s.path(generation))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the evidence of generation %s: %w", generation, err)
	}
	var files []File
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && !strings.HasSuffix(entry.Name(), nextSuffix) {
			files = append(files, File{Name: entry.Name(), Size: info.Size()})
		}
	}
	return files, nil
}

// Read gives the content of a file. Errors: fs.ErrNotExist.
func (s *Store) Read(generation, name string) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(s.path(generation), cleanName(name)))
	if err != nil {
		return nil, fmt.Errorf("cannot read the evidence of generation %s: %w", generation, err)
	}
	return content, nil
}

// Prune removes the evidence of all generations but these. Cut short, it is to be
// called again.
func (s *Store) Prune(keep []string) error {
	entries, err := os.ReadDir(s.directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot remove old evidence: %w", err)
	}
	for _, entry := range entries {
		if slices.Contains(keep, entry.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.directory, entry.Name())); err != nil {
			return fmt.Errorf("cannot remove old evidence: %w", err)
		}
	}
	return nil
}

func (s *Store) path(generation string) string {
	return filepath.Join(s.directory, cleanName(generation))
}

// cleanName makes one component of a path of a name.
func cleanName(name string) string {
	name = strings.ReplaceAll(strings.TrimLeft(name, "./"), "/", "-")
	return cmp.Or(name, "unnamed")
}
