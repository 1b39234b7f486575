package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dennwc/btrfs"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// The updater's places in the top level.
const (
	snapshotsName = "snapshots"
	// stateName is a subvolume of its own, not a directory: a system that lives in
	// the top level itself is snapshotted from there, and what is nested in a
	// subvolume is not in its snapshots.
	stateName = "tbupdate"
)

func (p *plugin) Prepare(ctx context.Context) error {
	v, err := p.begin(ctx, "prepare", "the volume")
	if err != nil {
		return err
	}
	if err := v.makeSnapshotsDirectory(); err != nil {
		return failure("make directory", snapshotsName, err)
	}
	if err := v.makeStateSubvolume(); err != nil {
		return failure("make subvolume", stateName, err)
	}
	// Closes the window in which the journal begins in a place that a loss of power
	// takes away again.
	return failure("flush", v.device, v.commit())
}

// makeSnapshotsDirectory makes a plain directory. A subvolume that is there is
// good as well.
func (v *volume) makeSnapshotsDirectory() error {
	err := unix.Mkdirat(int(v.top.Fd()), snapshotsName, 0o755)
	if err == nil || !errors.Is(err, unix.EEXIST) {
		return err
	}
	directory, err := v.openDirectory(snapshotsName)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return because(sdk.CodeExists, "something that is not a directory has that name")
	}
	if err != nil {
		return err
	}
	return directory.Close()
}

func (v *volume) makeStateSubvolume() error {
	taken, err := v.taken(stateName)
	if err != nil {
		return err
	}
	if !taken {
		if err := btrfs.CreateSubVolume(filepath.Join(v.mount.Directory, stateName)); err != nil {
			return err
		}
	}
	directory, err := v.openState()
	if err != nil {
		return err
	}
	defer directory.Close()
	info, err := directory.Stat()
	if err != nil {
		return err
	}
	// Also where it was there: the call that made it may have been killed just
	// then.
	if info.Mode().Perm() == 0o700 {
		return nil
	}
	return directory.Chmod(0o700)
}

// openState opens the state directory and makes sure that it is what
// makeStateSubvolume makes.
func (v *volume) openState() (*os.File, error) {
	all, err := v.readSubvolumes()
	if err != nil {
		return nil, err
	}
	s, err := v.lookup(all, stateName)
	if errors.Is(err, sdk.ErrUnsupported) {
		return nil, because(sdk.CodeExists, "something that is not a subvolume has that name; move it away")
	}
	if err != nil {
		return nil, err
	}
	if s.readOnly {
		return nil, because(sdk.CodeReadOnly, "subvolume %d is read-only", s.id)
	}
	return v.open(s)
}

func (p *plugin) StateDirectory(ctx context.Context) (string, error) {
	const operation = "find the state directory"
	v, err := p.begin(ctx, operation, stateName)
	if err != nil {
		return "", err
	}
	directory, err := v.openState()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, sdk.ErrNotFound) {
		return "", failure(operation, stateName, because(sdk.CodeNotFound, "the volume was not prepared"))
	}
	if err != nil {
		return "", failure(operation, stateName, err)
	}
	defer directory.Close()
	return directory.Name(), nil
}
