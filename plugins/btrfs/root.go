package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/ioctl"
	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/rootarg"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// defaultID reads the default subvolume: the entry "default" of the tree of
// roots' own directory.
func (v *volume) defaultID() (uint64, error) {
	id := uint64(ioctl.TopLevel) // where there is no entry (btrfs_get_default_root)
	err := ioctl.Search(int(v.top.Fd()), ioctl.Range{
		Tree:        ioctl.RootTree,
		FirstObject: ioctl.RootTreeDir, LastObject: ioctl.RootTreeDir,
		FirstType: ioctl.TypeDirItem, LastType: ioctl.TypeDirItem,
	}, func(item ioctl.Item) error {
		// struct btrfs_dir_item: the key that it leads to (object 8 bytes, type 1,
		// offset 8), transid 8, length of data 2, length of the name 2, type 1; the
		// name.
		const header = 30
		if len(item.Data) < header {
			return fmt.Errorf("directory item has %d bytes", len(item.Data))
		}
		if strings.HasPrefix(string(item.Data[header:]), "default") {
			id = binary.LittleEndian.Uint64(item.Data)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("cannot read the default subvolume: %w", err)
	}
	return id, nil
}

func (p *plugin) Default(ctx context.Context) (sdk.Subvolume, error) {
	const operation, object = "get", "the default subvolume"
	v, err := p.begin(ctx, operation, object)
	if err != nil {
		return sdk.Subvolume{}, err
	}
	s, err := v.defaultSubvolume()
	return s, failure(operation, object, err)
}

func (v *volume) defaultSubvolume() (sdk.Subvolume, error) {
	all, err := v.readSubvolumes()
	if err != nil {
		return sdk.Subvolume{}, err
	}
	id, err := v.defaultID()
	if err != nil {
		return sdk.Subvolume{}, err
	}
	s, err := all.get(identityOf(id))
	if err != nil {
		return sdk.Subvolume{}, err
	}
	return v.describe(all, s), nil
}

func (p *plugin) SetDefault(ctx context.Context, id sdk.Identity) error {
	const operation, object = "set the default subvolume to", "subvolume "
	v, err := p.begin(ctx, operation, object+string(id))
	if err != nil {
		return err
	}
	return failure(operation, object+string(id), v.setDefault(id))
}

func (v *volume) setDefault(id sdk.Identity) error {
	_, s, err := v.find(id)
	if err != nil {
		return err
	}
	old, err := v.defaultID()
	if err != nil {
		return err
	}
	if old != s.id {
		if err := ioctl.SetDefault(int(v.top.Fd()), s.id); err != nil {
			return err
		}
	}
	// Closes the window in which the caller deletes the old default, or arms a trial
	// of the new one, and power lost then brings the old one back as the default.
	return v.commit()
}

func (p *plugin) KernelArguments(ctx context.Context, id sdk.Identity) ([]string, error) {
	const operation = "make kernel arguments for subvolume"
	v, err := p.begin(ctx, operation, string(id))
	if err != nil {
		return nil, err
	}
	_, s, err := v.find(id)
	if err != nil {
		return nil, failure(operation, string(id), err)
	}
	kept, err := v.keptFlags(p.setup)
	if err != nil {
		return nil, failure(operation, string(id), err)
	}
	return []string{
		"root=UUID=" + v.uuid,
		"rootfstype=btrfs",
		"rootflags=" + strings.Join(append(kept, fmt.Sprintf("subvolid=%d", s.id)), ","),
	}, nil
}

// keptFlags gives the mount options with which the root that was booted is mounted,
// and the next one is to be: without "degraded" or "device=" it might not be mounted
// at all. Options of a root on another volume, such as a rescue system's, are no
// concern of this one.
func (v *volume) keptFlags(setup sdk.Setup) ([]string, error) {
	booted := rootarg.Parse(setup.CommandLine)
	err := v.checkRootDevice(booted, setup.Live)
	if errors.Is(err, sdk.ErrNotFound) {
		return nil, nil
	}
	return booted.OtherFlags(), err
}

func (p *plugin) MountLine(ctx context.Context, id sdk.Identity, directory string) (string, error) {
	const operation = "make the mount line of subvolume"
	v, err := p.begin(ctx, operation, string(id))
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(directory, "/") || strings.ContainsAny(directory, " \t\n\\#") {
		return "", sdk.Errorf(sdk.CodeInvalid, operation, string(id), "%q is not an absolute path without blanks", directory)
	}
	_, s, err := v.find(id)
	if err != nil {
		return "", failure(operation, string(id), err)
	}
	return fmt.Sprintf("UUID=%s %s btrfs subvolid=%d,noatime 0 0", v.uuid, directory, s.id), nil
}

func (p *plugin) Booted(ctx context.Context, commandLine string) (sdk.Subvolume, error) {
	const operation, object = "find", "the booted subvolume"
	v, err := p.begin(ctx, operation, object)
	if err != nil {
		return sdk.Subvolume{}, err
	}
	s, err := v.booted(rootarg.Parse(commandLine), p.setup.Live)
	return s, failure(operation, object, err)
}

func (v *volume) booted(root rootarg.Root, live bool) (sdk.Subvolume, error) {
	if err := v.checkRootDevice(root, live); err != nil {
		return sdk.Subvolume{}, err
	}
	options, err := root.Options()
	if err != nil {
		return sdk.Subvolume{}, because(sdk.CodeInvalid, "%w", err)
	}
	if !options.HasName && !options.HasID {
		return v.defaultSubvolume()
	}
	all, err := v.readSubvolumes()
	if err != nil {
		return sdk.Subvolume{}, err
	}
	s := all[options.ID]
	if options.HasName {
		// As the kernel looks it up: ".." does not lead out of the top level.
		name := path.Join(".", path.Join("/", options.Name)[1:])
		if s = all.byName(name); s == nil {
			return sdk.Subvolume{}, because(sdk.CodeNotFound, "there is no subvolume %q, which rootflags=%s names", name, root.Flags)
		}
		// The kernel refuses such a pair (mount_subvol in fs/btrfs/super.c).
		if options.HasID && options.ID != s.id {
			return sdk.Subvolume{}, because(sdk.CodeNotFound, "rootflags=%s names two subvolumes: %q has the id %d", root.Flags, name, s.id)
		}
	}
	if s == nil {
		return sdk.Subvolume{}, because(sdk.CodeNotFound, "there is no subvolume with the id %d, which rootflags=%s names", options.ID, root.Flags)
	}
	return v.describe(all, s), nil
}

// checkRootDevice says why root= cannot mean this volume. A device's path, or a
// partition's UUID, means something only on the machine that was booted: elsewhere
// it is taken to be right.
func (v *volume) checkRootDevice(root rootarg.Root, live bool) error {
	another := func(what string) error {
		return because(sdk.CodeNotFound, "root=%s is on another volume: %s", root.Device, what)
	}
	if types := root.Types(); len(types) > 0 && !slices.Contains(types, "btrfs") && !slices.Contains(types, "auto") {
		return because(sdk.CodeNotFound, "root is on another volume: rootfstype=%s", root.Filesystem)
	}
	kind, value, _ := strings.Cut(root.Device, "=")
	value = strings.Trim(value, `"`)
	switch {
	case root.Device == "":
		return nil
	case kind == "UUID":
		if !strings.EqualFold(value, v.uuid) {
			return another("this one has the UUID " + v.uuid)
		}
		return nil
	case kind == "LABEL":
		block, err := readSuperblock(v.device)
		if err != nil {
			return err
		}
		if block.Label != value {
			return another(fmt.Sprintf("this one has the label %q", block.Label))
		}
		return nil
	case kind == "ZFS" || strings.HasPrefix(root.Device, "zfs:"):
		return another("that is ZFS")
	case !live:
		return nil
	case kind == "PARTUUID", strings.HasPrefix(root.Device, "/dev/"):
		return v.checkLiveDevice(root.Device, another)
	}
	return nil
}

// checkLiveDevice compares a device of this machine with those of the volume.
func (v *volume) checkLiveDevice(device string, another func(string) error) error {
	path, err := deviceBySetting(device)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // such as PARTUUID of a disk whose table udev never read
	}
	if err != nil {
		return err
	}
	var named unix.Stat_t
	if err := unix.Stat(path, &named); err != nil || named.Mode&unix.S_IFMT != unix.S_IFBLK {
		return nil // such as /dev/root, which is no file at all
	}
	paths, err := devicePaths(v.control)
	if err != nil {
		return err
	}
	for _, own := range append(paths, v.device) {
		var st unix.Stat_t
		if err := unix.Stat(own, &st); err == nil && st.Rdev == named.Rdev {
			return nil
		}
	}
	return another("this one is on " + strings.Join(paths, ", "))
}
