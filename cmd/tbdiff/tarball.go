package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/core/command"
)

// treeOf gives the directory of a tree that is given as a directory or as a tarball (.tar,
// .tar.gz, .tar.xz, .tar.zst). A tarball is unpacked below scratch, with all that it holds:
// that needs root. release removes what was unpacked.
func treeOf(ctx context.Context, path, scratch string) (dir string, release func() error, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, fmt.Errorf("cannot read the tree: %w", err)
	}
	if !info.Mode().IsRegular() {
		return path, func() error { return nil }, nil // what is no directory is refused where it is read
	}
	if os.Geteuid() != 0 {
		return "", nil, fmt.Errorf("cannot unpack %q: owners and devices take root", path)
	}
	dir, err = os.MkdirTemp(scratch, ".tbdiff-tree-*")
	if err != nil {
		return "", nil, fmt.Errorf("cannot unpack %q: %w", path, err)
	}
	release = func() error { return os.RemoveAll(dir) }
	file, err := filepath.Abs(path)
	if err == nil {
		_, err = command.Output(ctx, "tar", "--extract", "--file", file, "--directory", dir,
			"--preserve-permissions", "--same-owner", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*")
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("cannot unpack %q: %w", path, err), release())
	}
	return dir, release, nil
}
