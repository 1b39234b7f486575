package wire

import (
	"os"
	"path/filepath"
)

// RemovePrivateDirectory removes a plugin's private directory as far as it holds
// only files and empty directories, and says whether it is gone. It never
// descends: should a plugin have mounted a filesystem in there, nothing of that
// is deleted. Host and plugin both call it, so that it goes when either is
// killed.
func RemovePrivateDirectory(path string) bool {
	entries, err := os.ReadDir(path)
	if err != nil {
		return os.IsNotExist(err)
	}
	for _, entry := range entries {
		// os.Remove is unlink or rmdir; the latter fails on a mount point.
		_ = os.Remove(filepath.Join(path, entry.Name()))
	}
	err = os.Remove(path)
	return err == nil || os.IsNotExist(err)
}
