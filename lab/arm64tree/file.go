package arm64tree

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// copyFile copies what a path means in one tree to the same path in another, as a
// regular file: links are followed, so that no chain of them has to be copied.
func copyFile(from, path, to string) error {
	source, err := os.Open(filepath.Join(from, path))
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("cannot copy %s: it is no regular file", path)
	}
	target := filepath.Join(to, path)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, source); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// isScript tells a program that starts with "#!" from one that the kernel loads.
func isScript(path string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	start := make([]byte, 2)
	if _, err := io.ReadFull(file, start); err != nil {
		return false, err
	}
	return bytes.Equal(start, []byte("#!")), nil
}
