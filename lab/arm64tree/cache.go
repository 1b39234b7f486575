package arm64tree

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

//go:embed *.go
var source embed.FS

// recipe names what this package makes, by its own text.
func recipe() string {
	hash := sha256.New()
	entries, err := source.ReadDir(".")
	if err != nil {
		panic(err) // the files are part of the program
	}
	for _, entry := range entries {
		text, err := source.ReadFile(entry.Name())
		if err != nil {
			panic(err)
		}
		hash.Write(text)
	}
	return hex.EncodeToString(hash.Sum(nil))[:12]
}

// lock waits until nobody else holds the file's lock. It is released by the
// function that it gives, and when this process ends.
func lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}
