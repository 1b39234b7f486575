// Package cache keeps what takes long to build (programs, root trees, disk images)
// under a name made from everything that it was made from. Several processes may use
// a cache at the same time.
package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Store is a directory of built things.
type Store struct{ Directory string }

// unused is how long a thing stays that nobody has asked for: longer than the longest
// run of the lab, which asks once.
const unused = 6 * time.Hour

// Key is a hash of what something is made from.
type Key [sha256.Size]byte

// KeyOf hashes values, each by how %#v shows it.
func KeyOf(parts ...any) Key {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%#v\x00", part)
	}
	return Key(h.Sum(nil))
}

// File hashes the content of a file.
func File(path string) (Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return Key{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return Key{}, err
	}
	return Key(h.Sum(nil)), nil
}

// Get gives the path of the thing of this name and key. When it is not there, build
// makes it at the path that it is given, where nothing is yet; only what was
// built to the end is kept.
func (s Store) Get(name string, key Key, build func(path string) error) (string, error) {
	path := filepath.Join(s.Directory, name+"-"+hex.EncodeToString(key[:6]))
	if touch(path) {
		return path, nil
	}
	unlock, err := s.lock(filepath.Base(path))
	if err != nil {
		return "", fmt.Errorf("cannot lock the cache: %w", err)
	}
	defer unlock()
	if touch(path) { // somebody else built it meanwhile
		return path, nil
	}
	s.prune(name)
	part := path + ".part"
	if err := os.RemoveAll(part); err != nil {
		return "", err
	}
	if err := build(part); err != nil {
		return "", fmt.Errorf("cannot build %s: %w", name, err)
	}
	return path, os.Rename(part, path)
}

// touch notes that something is used, and says whether it is there.
func touch(path string) bool {
	now := time.Now()
	return os.Chtimes(path, now, now) == nil
}

// prune removes what was built under this name from other things and is not used any
// more. What cannot be removed is in nobody's way.
func (s Store) prune(name string) {
	paths, err := filepath.Glob(filepath.Join(s.Directory, name+"-????????????*")) // half-built ones, too
	if err != nil {
		return
	}
	for _, path := range paths {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > unused {
			_ = os.RemoveAll(path)
		}
	}
}

// lock keeps other processes from building the same thing.
func (s Store) lock(name string) (unlock func(), err error) {
	directory := filepath.Join(s.Directory, "locks")
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(directory, name), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
