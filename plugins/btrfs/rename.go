package main

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/ioctl"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// commit makes all changes so far durable: file data, and the transaction that
// holds names, flags and the default. btrfs waits for a running transaction to be
// on disk in syncfs(2), superblock included.
//
// A verb that finds its work done commits as well. The call that did it may have
// been killed between the change and its commit, and its caller would go on,
// trusting in what a loss of power could still take back.
func (v *volume) commit() error {
	return unix.Syncfs(int(v.top.Fd()))
}

func (p *plugin) Flush(ctx context.Context) error {
	v, err := p.begin(ctx, "flush", "the volume")
	if err != nil {
		return err
	}
	return failure("flush", v.device, v.commit())
}

func (p *plugin) Rename(ctx context.Context, id sdk.Identity, to string) error {
	const operation = "rename subvolume"
	object := string(id) + " to " + to
	v, err := p.begin(ctx, operation, object)
	if err != nil {
		return err
	}
	return failure(operation, object, v.rename(id, to))
}

func (v *volume) rename(id sdk.Identity, to string) error {
	if err := checkName(to); err != nil {
		return err
	}
	_, s, err := v.find(id)
	if err != nil {
		return err
	}
	if s.name != to {
		// RENAME_NOREPLACE: an empty directory that has the name would vanish.
		if err := v.move(s, to, unix.RENAME_NOREPLACE); err != nil {
			return err
		}
	}
	// Closes the window in which the caller goes on, to delete or to set a default,
	// and power lost then brings back the old name next to what was built on the
	// new one.
	return v.commit()
}

func (p *plugin) Exchange(ctx context.Context, name string, id sdk.Identity) error {
	const operation = "exchange"
	object := name + " with subvolume " + string(id)
	v, err := p.begin(ctx, operation, object)
	if err != nil {
		return err
	}
	return failure(operation, object, v.exchange(name, id))
}

func (v *volume) exchange(name string, id sdk.Identity) error {
	if err := checkName(name); err != nil {
		return err
	}
	all, s, err := v.find(id)
	if err != nil {
		return err
	}
	other, err := v.lookup(all, name)
	if err != nil {
		return err
	}
	if other.id != s.id {
		// One step: at no instant, on disk or in memory, has nobody the name by
		// which the machine may find its root.
		if err := v.move(s, name, unix.RENAME_EXCHANGE); err != nil {
			return err
		}
	}
	// Closes the window in which the default is set to, or an old root deleted by,
	// roles that power lost then turns round again.
	return v.commit()
}

// move renames a subvolume with renameat2(2), which works on mounted ones too.
func (v *volume) move(s *subvolume, to string, flags uint) error {
	if s.id == ioctl.TopLevel {
		return because(sdk.CodeInvalid, "the top level cannot be renamed")
	}
	// The name is checked to be this subvolume's: it may have moved since the tree
	// was read.
	tree, err := v.open(s)
	if err != nil {
		return err
	}
	tree.Close() // a handle on the top directory, nothing was written
	source, oldName, err := v.openParent(s.name)
	if err != nil {
		return err
	}
	defer source.Close()
	target, newName, err := v.openParent(to)
	if err != nil {
		return err
	}
	defer target.Close()
	err = unix.Renameat2(int(source.Fd()), oldName, int(target.Fd()), newName, flags)
	switch {
	case errors.Is(err, unix.EEXIST):
		return because(sdk.CodeExists, "something else has that name")
	case errors.Is(err, unix.EROFS) && s.readOnly && !v.mount.ReadOnly:
		return because(sdk.CodeReadOnly, "a read-only subvolume can only be renamed within its directory: %w", err)
	case errors.Is(err, unix.EINVAL):
		return because(sdk.CodeInvalid, "one of the two is inside the other: %w", err)
	}
	return err
}
