package release

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// addBtrfs adds the distribution's btrfs program with its libraries, for a look at the
// volume that does not depend on the updater's own.
func (b *Builder) addBtrfs(_ context.Context, r Release, path string) error {
	if _, err := os.Stat(filepath.Join(path, "usr/bin/btrfs")); err == nil {
		return nil // the base has it
	}
	tree := b.Kernels[0].Tree // the same in all releases: only the kernel is r's own
	program := filepath.Join(tree, "usr/bin/btrfs")
	if _, err := os.Stat(program); err != nil {
		return fmt.Errorf("cannot find the program btrfs for release %s: %w", r.Version, err)
	}
	if err := copyFile(filepath.Join(path, "usr/bin/btrfs"), program, 0o755); err != nil {
		return err
	}
	libraries, err := librariesOf(tree, program)
	if err != nil {
		return err
	}
	for _, library := range libraries {
		if err := copyFile(filepath.Join(path, "usr/lib", filepath.Base(library)), library, 0o755); err != nil {
			return err
		}
	}
	interpreter, err := interpreterOf(program)
	if err != nil {
		return err
	}
	// "/lib64/ld-…": through the link of that name, or in /lib.
	target := filepath.Join(path, "usr", interpreter)
	return copyFile(target, filepath.Join(tree, "usr", interpreter), 0o755)
}

// librariesOf gives the shared libraries that a program in a tree needs, and these in turn.
func librariesOf(tree, program string) ([]string, error) {
	var found []string
	for work := []string{program}; len(work) > 0; work = work[1:] {
		needed, err := neededBy(work[0])
		if err != nil {
			return nil, err
		}
		for _, name := range needed {
			paths, err := filepath.Glob(filepath.Join(tree, "usr/lib/*-linux-gnu*", name))
			if err != nil {
				return nil, err
			}
			if len(paths) == 0 {
				return nil, fmt.Errorf("cannot find the library %s of %s", name, work[0])
			}
			if !slices.Contains(found, paths[0]) {
				found = append(found, paths[0])
				work = append(work, paths[0])
			}
		}
	}
	return found, nil
}

func neededBy(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.DynString(elf.DT_NEEDED)
}

// interpreterOf gives the dynamic linker that a program names.
func interpreterOf(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := f.Section(".interp").Data()
	return strings.TrimRight(string(content), "\x00"), err
}
