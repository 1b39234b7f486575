// Package osrelease reads what a root tree says of itself (os-release(5)).
package osrelease

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Version gives the version that the tree whose top is dir states: IMAGE_VERSION, else
// VERSION_ID, else "". No link leads out of the tree.
func Version(dir string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("cannot read the version of the tree: %w", err)
	}
	defer root.Close()
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		content, err := root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("cannot read the version of the tree: %w", err)
		}
		if version := versionIn(string(content)); version != "" {
			return version, nil
		}
	}
	return "", nil
}

func versionIn(content string) string {
	values := map[string]string{}
	for line := range strings.Lines(content) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = strings.Trim(value, `"'`)
	}
	if values["IMAGE_VERSION"] != "" {
		return values["IMAGE_VERSION"]
	}
	return values["VERSION_ID"]
}
