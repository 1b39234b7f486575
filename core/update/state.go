package update

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// stateName is the name of the subvolume that takes a state directory: "state-var"
// for /var, "state-var-log" for /var/log.
func stateName(directory string) string {
	return "state" + strings.ReplaceAll(directory, "/", "-")
}

// notMovable are directories that the system needs before it mounts anything.
var notMovable = []string{"/etc", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/boot", "/dev", "/proc", "/sys", "/run"}

// checkStateDirectories gives the directories cleaned and sorted, deeper ones after
// those that hold them.
func checkStateDirectories(directories []string) ([]string, error) {
	var cleaned []string
	for _, directory := range directories {
		if !strings.HasPrefix(directory, "/") || path.Clean(directory) == "/" || strings.ContainsAny(directory, " \t\n\\#") {
			return nil, fmt.Errorf("cannot move %q into a subvolume of its own: it must be an absolute path below /, without blanks", directory)
		}
		directory = path.Clean(directory)
		for _, fixed := range notMovable {
			if directory == fixed || strings.HasPrefix(directory, fixed+"/") {
				return nil, fmt.Errorf("cannot move %s into a subvolume of its own: the system needs it before it mounts anything, and it belongs to the version", directory)
			}
		}
		cleaned = append(cleaned, directory)
	}
	slices.Sort(cleaned)
	return slices.Compact(cleaned), nil
}

// moveState moves directories of the tree in work into subvolumes of their own, and
// adds the lines that mount them to its /etc/fstab. No content is copied: each new
// subvolume is a snapshot of the tree, cut down to the directory.
func (s *session) moveState(ctx context.Context, work sdk.Subvolume, directories []string) error {
	if len(directories) == 0 {
		return nil
	}
	// All are split off before the first is emptied: a directory may hold another.
	var lines []string
	for _, directory := range directories {
		line, err := s.splitOff(ctx, work, directory, directories)
		if err != nil {
			return err
		}
		lines = append(lines, line)
	}
	tree, err := rootfs.Open(work.Path)
	if err != nil {
		return err
	}
	defer tree.Close()
	for _, directory := range directories {
		if heldByAnother(directory, directories) {
			continue // it goes with the one that holds it
		}
		if err := tree.Clear(ctx, strings.TrimPrefix(directory, "/")); err != nil {
			return err
		}
	}
	return addMounts(tree, work.Path, lines)
}

// heldByAnother reports whether another of the directories holds this one.
func heldByAnother(directory string, all []string) bool {
	return slices.ContainsFunc(all, func(other string) bool { return strings.HasPrefix(directory, other+"/") })
}

// splitOff makes the subvolume of one directory and gives the line that mounts it.
func (s *session) splitOff(ctx context.Context, work sdk.Subvolume, directory string, all []string) (string, error) {
	name := stateName(directory)
	if _, err := s.FS.Lookup(ctx, name); !errors.Is(err, sdk.ErrNotFound) {
		if err == nil {
			err = fmt.Errorf("cannot move %s into a subvolume of its own: %s exists already", directory, name)
		}
		return "", err
	}
	// The journal knows the name before there is anything to undo.
	op := s.journal.Operation
	op.State = append(op.State, name)
	if err := s.save(); err != nil {
		return "", err
	}
	part, err := s.FS.Snapshot(ctx, work.Identity, name, false)
	if err != nil {
		return "", err
	}
	tree, err := rootfs.Open(part.Path)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	if err := tree.Promote(ctx, strings.TrimPrefix(directory, "/")); err != nil {
		return "", err
	}
	for _, inner := range all {
		// What has a subvolume of its own is only a mount point here.
		if below, inside := strings.CutPrefix(inner, directory+"/"); inside {
			if err := tree.Clear(ctx, below); err != nil {
				return "", err
			}
		}
	}
	if err := tree.Sync(); err != nil {
		return "", err
	}
	return s.FS.MountLine(ctx, part.Identity, directory)
}

// addMounts appends lines to the tree's mount table.
func addMounts(tree *rootfs.Tree, path string, lines []string) error {
	table, err := readInTree(path, "etc/fstab")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot read the mount table: %w", err)
	}
	text := string(table)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return tree.WriteFile("etc/fstab", []byte(text+strings.Join(lines, "\n")+"\n"))
}
