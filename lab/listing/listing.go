// Package listing says what is in a tree, in a way that is compared by eye and that owes nothing to what
// is tested.
package listing

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ofMachine are the directories whose content belongs to the machine and not to the release.
var ofMachine = map[string]bool{"home": true, "root": true, "srv": true, "var": true}

// Of gives a line for everything in a tree that a release says something of: type, mode, owner, and
// what is in it, by path.
func Of(top string) (map[string]string, error) {
	lines := map[string]string{}
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		line, err := lineOf(path, entry)
		if err != nil {
			return err
		}
		lines[name] = line
		if ofMachine[name] {
			return fs.SkipDir
		}
		return nil
	})
	return lines, err
}

func lineOf(path string, entry fs.DirEntry) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	line := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
	switch entry.Type() {
	case 0:
		content, err := os.ReadFile(path)
		if errors.Is(err, unix.EIO) {
			return line + " cannot be read", nil
		}
		sum := sha256.Sum256(content)
		return line + " " + hex.EncodeToString(sum[:]), err
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		return line + " " + target, err
	}
	return line, nil
}

// Differences gives the paths that are not alike in two listings.
func Differences(want, got map[string]string) []string {
	var found []string
	for path, line := range want {
		if other, ok := got[path]; !ok {
			found = append(found, path+" is missing")
		} else if other != line {
			found = append(found, fmt.Sprintf("%s is %q instead of %q", path, other, line))
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			found = append(found, path+" should not be there")
		}
	}
	return found
}

// Few joins the first few of them.
func Few(all []string) string {
	const most = 3
	if len(all) > most {
		all = append(all[:most:most], fmt.Sprintf("and %d more", len(all)-most))
	}
	return strings.Join(all, "; ")
}
