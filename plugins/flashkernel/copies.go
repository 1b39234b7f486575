package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
)

// copies are two copies of one sector, of which U-Boot takes the first that is whole.
type copies struct {
	paths [2]string
	// create writes a file that is not there, or has another size, and settles it
	// where U-Boot finds it.
	create func(path string, data []byte) error
	// whole reports whether a copy is one that U-Boot takes.
	whole func(data []byte) bool
}

// read gives what is in the two files, nil for what U-Boot would not take. The first
// that is not nil counts.
func (c copies) read() ([2][]byte, error) {
	var found [2][]byte
	for i, path := range c.paths {
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return found, err
		}
		if c.whole(data) {
			found[i] = data
		}
	}
	return found, nil
}

// damage says which copy is not what the one that counts is, "" when both are the same.
func (c copies) damage() (string, error) {
	found, err := c.read()
	switch {
	case err != nil:
		return "", err
	case found[0] == nil:
		return filepath.Base(c.paths[0]) + " cannot be read", nil
	case !bytes.Equal(found[0], found[1]):
		return filepath.Base(c.paths[1]) + " is not the same as " + filepath.Base(c.paths[0]), nil
	}
	return "", nil
}

// write makes both copies the same. The first one's write is the switch:
//
//  1. The second copy becomes what counts now. If the next write is torn, that is
//     what U-Boot finds.
//  2. The first copy becomes the new state.
//  3. So does the second. If this is torn, the first is whole; and a first copy that
//     is damaged later on does not bring an old state back.
//
// A first copy that is not whole has no part in the choice, so the second stays.
func (c copies) write(data []byte) error {
	if len(data) != chooser.StateSize {
		return fmt.Errorf("cannot write a state of %d bytes", len(data))
	}
	found, err := c.read()
	if err != nil {
		return err
	}
	if found[0] != nil && !bytes.Equal(found[0], data) {
		if err := c.put(1, found[1], found[0]); err != nil {
			return err
		}
		found[1] = found[0]
	}
	if err := c.put(0, found[0], data); err != nil {
		return err
	}
	return c.put(1, found[1], data)
}

// put writes one copy, where it is not what it should be.
func (c copies) put(i int, now, data []byte) error {
	if bytes.Equal(now, data) {
		return nil
	}
	path := c.paths[i]
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c.create(path, data)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file", path)
	case info.Size() != int64(len(data)):
		return c.create(path, data)
	}
	return durable.Overwrite(path, 0, data)
}

// createAnew writes a file on a filesystem on which nothing else is to be thought of,
// such as FAT. What is there now has the wrong size, so that U-Boot does not take it.
func createAnew(path string, data []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := durable.Create(path, data); err != nil {
		return err
	}
	return durable.SyncDirectory(filepath.Dir(path))
}
