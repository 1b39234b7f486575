package pluginhost

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// Found is one plugin program, as "plugins list" shows it.
type Found struct {
	Kind sdk.Kind
	Name string
	Path string
	// Problem says why it would not be started, nil when nothing is known
	// against it.
	Problem error
}

// ErrNotFound is the problem of a plugin that is in none of the directories.
var ErrNotFound = errors.New("is not there")

// programName is strict, so that what an editor or package manager leaves beside
// a plugin (tbupdate-fs-btrfs~, .dpkg-old) is not taken for one.
var programName = regexp.MustCompile(`^tbupdate-(fs|boot)-([a-z0-9][a-z0-9-]*)$`)

// Find gives the path of the plugin's program, without judging it: that is done
// when it is opened. The problem of its *Error is ErrNotFound with the
// directories that were searched and the plugins that are there.
func Find(spec Spec) (string, error) {
	name := "tbupdate-" + string(spec.Kind) + "-" + spec.Name
	if !programName.MatchString(name) {
		return "", spec.fail("", errors.New(`has no valid name: the kind is fs or boot, the name is made of "a" to "z", "0" to "9" and "-"`))
	}
	if spec.Program != "" {
		if !filepath.IsAbs(spec.Program) {
			return "", spec.fail(spec.Program, errors.New("is not named by an absolute path"))
		}
		return spec.Program, nil
	}
	for _, directory := range spec.Directories {
		path := filepath.Join(directory, name)
		if !filepath.IsAbs(path) {
			return "", spec.fail("", fmt.Errorf("cannot be searched in %q, which is not an absolute path", directory))
		}
		_, err := os.Lstat(path)
		switch {
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", spec.fail(path, err)
		}
	}
	return "", spec.fail("", notFound(spec))
}

func (spec Spec) fail(path string, problem error) *Error {
	return &Error{Kind: spec.Kind, Name: spec.Name, Path: path, Problem: problem}
}

func notFound(spec Spec) error {
	if len(spec.Directories) == 0 {
		return fmt.Errorf("%w: no plugin directories are configured", ErrNotFound)
	}
	var there []string
	for _, found := range List(spec.Directories) {
		there = append(there, string(found.Kind)+"-"+found.Name)
	}
	slices.Sort(there)
	hint := "which hold no plugins"
	if len(there) > 0 {
		hint = "which hold " + strings.Join(slices.Compact(there), ", ")
	}
	return fmt.Errorf("%w: searched for tbupdate-%s-%s in %s, %s", ErrNotFound, spec.Kind, spec.Name, strings.Join(spec.Directories, ", "), hint)
}

// List gives the plugins in the directories, in the order of directories and
// names. A directory that cannot be read holds none. Of two with the same kind
// and name the first is the one that is used; the problem of the other says so.
func List(directories []string) []Found {
	var list []Found
	first := make(map[string]string)
	for _, directory := range directories {
		entries, err := os.ReadDir(directory)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			match := programName.FindStringSubmatch(entry.Name())
			if match == nil {
				continue
			}
			found := Found{Kind: sdk.Kind(match[1]), Name: match[2], Path: filepath.Join(directory, entry.Name())}
			if earlier, ok := first[entry.Name()]; ok {
				found.Problem = fmt.Errorf("is hidden by %s", earlier)
			} else {
				first[entry.Name()] = found.Path
				found.Problem = judge(found.Path)
			}
			list = append(list, found)
		}
	}
	return list
}

// judge says what is wrong with the file, nil for nothing.
func judge(path string) error {
	file, err := openTrusted(path)
	if err != nil {
		return err
	}
	return file.Close()
}
