package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// output is where a stream goes. A file gets its name when it is whole, so that
// nobody ever sees a part of one; standard output, and what is not a plain file,
// is written to directly.
type output struct {
	file *os.File
	name string // that the file gets; "" where it is written directly
}

// isDirect reports whether what is written to name cannot be taken back.
func isDirect(name string) bool {
	if name == "-" {
		return true
	}
	info, err := os.Stat(name)
	return err == nil && !info.Mode().IsRegular()
}

// openOutput opens the file name for a stream, or standard for "-".
func openOutput(name string, standard *os.File) (*output, error) {
	if name == "-" {
		return &output{file: standard}, nil
	}
	if isDirect(name) {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("cannot open the output: %w", err)
		}
		return &output{file: f}, nil
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real // replace what a link points to, not the link
	}
	f, err := createHidden(name)
	if err != nil {
		return nil, fmt.Errorf("cannot create the output: %w", err)
	}
	return &output{file: f, name: name}, nil
}

// createHidden creates a file beside name, with the permissions that name would
// get: os.CreateTemp gives its owner's only.
func createHidden(name string) (*os.File, error) {
	hidden := filepath.Join(filepath.Dir(name), fmt.Sprintf(".%.200s.%d.part", filepath.Base(name), os.Getpid()))
	return os.OpenFile(hidden, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o644)
}

// Write writes to the output.
func (o *output) Write(p []byte) (int, error) { return o.file.Write(p) }

// ReadFrom lets the kernel move data where it can.
func (o *output) ReadFrom(r io.Reader) (int64, error) { return o.file.ReadFrom(r) }

// publish makes what was written the file's content, durably.
func (o *output) publish() error {
	if o.name == "" {
		return nil
	}
	if err := o.file.Sync(); err != nil {
		return errors.Join(fmt.Errorf("cannot flush the output: %w", err), o.discard())
	}
	if err := o.file.Close(); err != nil {
		return errors.Join(fmt.Errorf("cannot close the output: %w", err), os.Remove(o.file.Name()))
	}
	if err := os.Rename(o.file.Name(), o.name); err != nil {
		return errors.Join(fmt.Errorf("cannot name the output: %w", err), os.Remove(o.file.Name()))
	}
	return syncDirectory(filepath.Dir(o.name))
}

// syncDirectory makes the names in a directory durable.
func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot flush the output's directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("cannot flush the output's directory: %w", err)
	}
	return nil
}

// isInside reports whether the file name is, or would be, somewhere below the
// directory dir.
func isInside(name, dir string) bool {
	top, err := os.Stat(dir)
	if err != nil {
		return false
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(name))
	if err == nil {
		parent, err = filepath.Abs(parent)
	}
	for err == nil {
		var info os.FileInfo
		if info, err = os.Stat(parent); err == nil && os.SameFile(info, top) {
			return true
		}
		if parent == filepath.Dir(parent) {
			return false
		}
		parent = filepath.Dir(parent)
	}
	return false
}

// discard removes what was written, as far as that is possible.
func (o *output) discard() error {
	if o.name == "" {
		return nil
	}
	o.file.Close()
	return os.Remove(o.file.Name())
}
