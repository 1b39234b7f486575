package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/ioctl"
	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/superblock"
	"github.com/trebuchet-update/tbupdate/sdk"
)

func (p *plugin) Delete(ctx context.Context, id sdk.Identity) error {
	const operation = "delete subvolume"
	v, err := p.begin(ctx, operation, string(id))
	if err != nil {
		return err
	}
	return failure(operation, string(id), v.delete(id, p.setup.Live))
}

func (v *volume) delete(id sdk.Identity, live bool) error {
	all, err := v.readSubvolumes()
	if err != nil {
		return err
	}
	s, err := all.get(id)
	if errors.Is(err, sdk.ErrNotFound) {
		return v.commit() // of the deletion by a call that was killed
	}
	if err != nil {
		return err
	}
	if err := v.checkUnused(all, s, live); err != nil {
		return err
	}
	// By id, so that nothing else goes that took over the name meanwhile. The
	// kernel itself refuses the default and nested subvolumes.
	err = ioctl.DeleteSubvolume(int(v.top.Fd()), s.id)
	switch {
	case errors.Is(err, unix.ENOENT):
	case errors.Is(err, unix.ENOTEMPTY):
		return because(sdk.CodeBusy, "it holds nested subvolumes: %w", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EBUSY):
		return because(sdk.CodeBusy, "the kernel uses it, as the default, for a send or for a swap file: %w", err)
	case err != nil:
		return err
	}
	// Closes the window in which the caller forgets it, and power lost then brings
	// it back with nobody to collect it.
	return v.commit()
}

// checkUnused says what a subvolume is still needed for.
func (v *volume) checkUnused(all subvolumes, s *subvolume, live bool) error {
	if s.id == ioctl.TopLevel {
		return because(sdk.CodeBusy, "it is the top level, which holds all others")
	}
	if nested := all.nestedIn(s.id); len(nested) > 0 {
		return because(sdk.CodeBusy, "%s holds nested subvolumes: %s", s.name, strings.Join(nested, ", "))
	}
	id, err := v.defaultID()
	if err != nil {
		return err
	}
	if id == s.id {
		return because(sdk.CodeBusy, "%s is the default subvolume", s.name)
	}
	if live {
		if root, err := v.runningRoot(); err != nil || root == s.id {
			if err == nil {
				err = because(sdk.CodeBusy, "%s is mounted as /", s.name)
			}
			return err
		}
	}
	// The kernel would delete what is mounted, under the feet of its users. Private
	// mounts of plugins are of the top level and hold up nothing.
	mounts, err := v.mounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if all.holding(strings.TrimPrefix(m.Root, "/")).id == s.id {
			return because(sdk.CodeBusy, "%s is mounted on %s", s.name, m.Mountpoint)
		}
	}
	return nil
}

// runningRoot gives the id of the subvolume that is mounted as "/", 0 when that is
// on another filesystem.
func (v *volume) runningRoot() (uint64, error) {
	if onBtrfs, err := isBtrfs("/"); err != nil || !onBtrfs {
		return 0, err
	}
	root, err := os.Open("/")
	if err != nil {
		return 0, err
	}
	defer root.Close()
	uuid, err := ioctl.FilesystemUUID(int(root.Fd()))
	if err != nil {
		return 0, fmt.Errorf("cannot find the filesystem of /: %w", err)
	}
	if superblock.FormatUUID(uuid) != v.uuid {
		return 0, nil
	}
	id, err := ioctl.SubvolumeOf(int(root.Fd()))
	if err != nil {
		return 0, fmt.Errorf("cannot find the subvolume of /: %w", err)
	}
	return id, nil
}
