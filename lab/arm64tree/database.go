package arm64tree

import (
	"bytes"
	"fmt"
	"os"
)

// databaseSize is about what is kept of flash-kernel's database, in bytes.
const databaseSize = 4 << 10

// shortenDatabase keeps the first entries of flash-kernel's database. Its shell reads
// the whole of it, with a system call for each byte, for every field that an entry
// lacks: on an emulated processor 10 seconds a run, for boards that are not this one.
func shortenDatabase(path string) error {
	whole, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(whole) <= databaseSize {
		return nil
	}
	end := bytes.LastIndex(whole[:databaseSize], []byte("\n\n")) // between two entries
	if end < 0 {
		return fmt.Errorf("%s is not the database that was expected: it has no empty line", path)
	}
	return os.WriteFile(path, whole[:end+1], 0o644)
}
