package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// news are the plain files of a tree that hold something new: they are not in the
// old tree or have another content there.
type news struct {
	tree  string // absolute path of the new tree
	paths []string
	bytes int64 // of these files

	treeFiles int // plain files of the new tree
	treeBytes int64
}

// findNews compares two trees by the content of their plain files.
func findNews(oldTree, newTree string) (news, error) {
	absolute, err := filepath.Abs(newTree)
	if err != nil {
		return news{}, fmt.Errorf("cannot find %s: %w", newTree, err)
	}
	n := news{tree: absolute}
	err = filepath.WalkDir(newTree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		relative, err := filepath.Rel(newTree, path)
		if err != nil {
			return err
		}
		return n.add(relative, filepath.Join(oldTree, relative), path)
	})
	if err != nil {
		return news{}, fmt.Errorf("cannot compare %s with %s: %w", newTree, oldTree, err)
	}
	return n, nil
}

func (n *news) add(relative, oldPath, newPath string) error {
	info, err := os.Lstat(newPath)
	if err != nil {
		return err
	}
	n.treeFiles++
	n.treeBytes += info.Size()
	same, err := sameContent(oldPath, newPath, info.Size())
	if err != nil || same {
		return err
	}
	n.paths = append(n.paths, relative)
	n.bytes += info.Size()
	return nil
}

// sameContent reports whether oldPath is a plain file with the bytes of newPath,
// which has this size.
func sameContent(oldPath, newPath string, size int64) (bool, error) {
	info, err := os.Lstat(oldPath)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() != size {
		return false, err
	}
	a, err := os.Open(oldPath)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := os.Open(newPath)
	if err != nil {
		return false, err
	}
	defer b.Close()
	return sameBytes(a, b)
}

func sameBytes(a, b io.Reader) (bool, error) {
	bufferA, bufferB := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		readA, errA := io.ReadFull(a, bufferA)
		readB, errB := io.ReadFull(b, bufferB)
		if !bytes.Equal(bufferA[:readA], bufferB[:readB]) {
			return false, nil
		}
		if errA == nil && errB == nil {
			continue
		}
		if atEnd(errA) && atEnd(errB) {
			return true, nil
		}
		return false, errors.Join(errA, errB)
	}
}

func atEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// writeList writes the paths to a file, each with a NUL after it, as xargs -0
// reads them, and gives the file's absolute path.
func (n news) writeList(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("cannot write list of files: %w", err)
	}
	var list strings.Builder
	for _, p := range n.paths {
		list.WriteString(p)
		list.WriteByte(0)
	}
	if err := os.WriteFile(absolute, []byte(list.String()), 0o600); err != nil {
		return "", fmt.Errorf("cannot write list of files: %w", err)
	}
	return absolute, nil
}
