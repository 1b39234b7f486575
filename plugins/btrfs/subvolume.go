package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/ioctl"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// subvolume is one as the tree of roots has it.
type subvolume struct {
	id         uint64
	uuid       [16]byte
	parentUUID [16]byte // of what it is a snapshot of
	readOnly   bool
	created    time.Time
	// changed is the transaction that last changed its content, 0 for unknown. A snapshot
	// begins with its source's.
	changed uint64
	name    string // path from the top level; "." for that itself
	// parent is the id of the subvolume that it is in.
	parent uint64
	// directory is the inode, within parent, of the directory that it is in.
	directory uint64
}

// subvolumes are all of a filesystem, by id.
type subvolumes map[uint64]*subvolume

// Places within struct btrfs_root_item (linux/btrfs_tree.h), after the 160 bytes
// of its inode.
const (
	placeFlags      = 208
	placeReferences = 216
	placeUUID       = 247
	placeParentUUID = 263
	placeChanged    = 295 // ctransid
	placeOtime      = 339
	sizeRootItem    = 439
	flagReadOnly    = 1 // BTRFS_ROOT_SUBVOL_RDONLY
)

// readSubvolumes reads all subvolumes that have a name.
func (v *volume) readSubvolumes() (subvolumes, error) {
	all := subvolumes{}
	base := map[uint64]string{}
	visit := func(item ioctl.Item) error {
		if item.Object != ioctl.TopLevel && (item.Object < ioctl.FirstSubvol || item.Object > ioctl.LastSubvol) {
			return nil
		}
		switch item.Type {
		case ioctl.TypeRootItem:
			s, err := parseRootItem(item)
			if err == nil && s != nil {
				all[s.id] = s
			}
			return err
		case ioctl.TypeBackref:
			if s := all[item.Object]; s != nil {
				return parseBackref(item, s, base)
			}
		}
		return nil
	}
	err := ioctl.Search(int(v.top.Fd()), ioctl.Range{
		Tree:        ioctl.RootTree,
		FirstObject: ioctl.TopLevel, LastObject: ioctl.LastSubvol,
		FirstType: ioctl.TypeRootItem, LastType: ioctl.TypeBackref,
	}, visit)
	if err != nil {
		return nil, fmt.Errorf("cannot read the tree of roots: %w", err)
	}
	for id := range all {
		if err := v.nameSubvolume(all, base, id, 0); err != nil {
			return nil, err
		}
	}
	// What has no name is on its way to be deleted.
	for id, s := range all {
		if s.name == "" {
			delete(all, id)
		}
	}
	return all, nil
}

// parseRootItem gives nil for a subvolume that was deleted and waits for its
// blocks to be freed.
func parseRootItem(item ioctl.Item) (*subvolume, error) {
	data := item.Data
	if len(data) < placeReferences+4 {
		return nil, fmt.Errorf("root item of %d has %d bytes", item.Object, len(data))
	}
	if binary.LittleEndian.Uint32(data[placeReferences:]) == 0 {
		return nil, nil
	}
	s := &subvolume{id: item.Object, readOnly: binary.LittleEndian.Uint64(data[placeFlags:])&flagReadOnly != 0}
	// Filesystems from before Linux 3.6 have shorter items without the rest.
	if len(data) >= sizeRootItem {
		s.uuid = [16]byte(data[placeUUID:])
		s.parentUUID = [16]byte(data[placeParentUUID:])
		s.changed = binary.LittleEndian.Uint64(data[placeChanged:])
		s.created = time.Unix(int64(binary.LittleEndian.Uint64(data[placeOtime:])), int64(binary.LittleEndian.Uint32(data[placeOtime+8:])))
	}
	return s, nil
}

// parseBackref reads struct btrfs_root_ref: dirid (8 bytes), sequence (8), length
// of the name (2), the name. The item's offset is the parent's id.
func parseBackref(item ioctl.Item, s *subvolume, base map[uint64]string) error {
	const header = 18
	if len(item.Data) < header {
		return fmt.Errorf("back reference of %d has %d bytes", item.Object, len(item.Data))
	}
	size := int(binary.LittleEndian.Uint16(item.Data[16:]))
	if len(item.Data) < header+size {
		return fmt.Errorf("back reference of %d is cut short", item.Object)
	}
	s.parent = item.Offset
	s.directory = binary.LittleEndian.Uint64(item.Data)
	base[s.id] = string(item.Data[header : header+size])
	return nil
}

// nameSubvolume puts together the path of a subvolume, and of those that it is in.
func (v *volume) nameSubvolume(all subvolumes, base map[uint64]string, id uint64, depth int) error {
	s := all[id]
	if s == nil || s.name != "" {
		return nil
	}
	if id == ioctl.TopLevel {
		s.name = "."
		return nil
	}
	if base[id] == "" {
		return nil // no back reference: being made or deleted
	}
	if depth > len(all) {
		return because(sdk.CodeCorrupt, "subvolume %d is inside itself", id)
	}
	if err := v.nameSubvolume(all, base, s.parent, depth+1); err != nil {
		return err
	}
	parent := all[s.parent]
	if parent == nil || parent.name == "" {
		return nil
	}
	directory, err := ioctl.DirectoryPath(int(v.top.Fd()), s.parent, s.directory)
	if errors.Is(err, unix.ENOENT) {
		return nil // deleted since
	}
	if err != nil {
		return fmt.Errorf("cannot find the directory of subvolume %d: %w", id, err)
	}
	s.name = path.Join(parent.name, directory, base[id])
	return nil
}

// byName gives the subvolume that has a name, or nil.
func (all subvolumes) byName(name string) *subvolume {
	for _, s := range all {
		if s.name == name {
			return s
		}
	}
	return nil
}

// byUUID gives the subvolume with this UUID, or nil.
func (all subvolumes) byUUID(uuid [16]byte) *subvolume {
	if uuid == ([16]byte{}) {
		return nil
	}
	for _, s := range all {
		if s.uuid == uuid {
			return s
		}
	}
	return nil
}

// nestedIn names the subvolumes that are directly inside one.
func (all subvolumes) nestedIn(id uint64) []string {
	var names []string
	for _, s := range all {
		if s.parent == id && s.id != ioctl.TopLevel {
			names = append(names, s.name)
		}
	}
	slices.Sort(names)
	return names
}

// holding gives the subvolume that a path from the top level is in.
func (all subvolumes) holding(name string) *subvolume {
	for ; name != "." && name != "/" && name != ""; name = path.Dir(name) {
		if s := all.byName(name); s != nil {
			return s
		}
	}
	return all[ioctl.TopLevel]
}

// describe puts a subvolume into the contract's words.
func (v *volume) describe(all subvolumes, s *subvolume) sdk.Subvolume {
	result := sdk.Subvolume{
		Name:     s.name,
		Identity: identityOf(s.id),
		ReadOnly: s.readOnly,
		Created:  s.created,
		Path:     filepath.Join(v.mount.Directory, s.name),
	}
	if s.changed != 0 {
		result.Revision = strconv.FormatUint(s.changed, 10)
	}
	if origin := all.byUUID(s.parentUUID); origin != nil {
		result.Origin = identityOf(origin.id)
	}
	return result
}

func identityOf(id uint64) sdk.Identity {
	return sdk.Identity(strconv.FormatUint(id, 10))
}

// find reads all subvolumes and gives the one with this identity.
func (v *volume) find(id sdk.Identity) (subvolumes, *subvolume, error) {
	all, err := v.readSubvolumes()
	if err != nil {
		return nil, nil, err
	}
	s, err := all.get(id)
	return all, s, err
}

// get finds a subvolume by identity. A text that never was an identity is as
// little there as one that is gone.
func (all subvolumes) get(identity sdk.Identity) (*subvolume, error) {
	id, err := strconv.ParseUint(string(identity), 10, 64)
	if err == nil && identityOf(id) == identity {
		if s := all[id]; s != nil {
			return s, nil
		}
	}
	return nil, because(sdk.CodeNotFound, "there is no subvolume with the id %q", identity)
}

// checkName says why a text cannot be a name.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || strings.HasPrefix(name, "/"):
		return because(sdk.CodeInvalid, "%q is not a path below the top level", name)
	case path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../"):
		return because(sdk.CodeInvalid, "%q is not a clean path below the top level", name)
	case strings.ContainsRune(name, 0):
		return because(sdk.CodeInvalid, "%q holds a NUL", name)
	}
	for _, component := range strings.Split(name, "/") {
		if len(component) > unix.NAME_MAX {
			return because(sdk.CodeInvalid, "a component of %q is longer than %d bytes", name, unix.NAME_MAX)
		}
	}
	return nil
}

// lookup finds a subvolume by name.
func (v *volume) lookup(all subvolumes, name string) (*subvolume, error) {
	if name == "." {
		return all[ioctl.TopLevel], nil
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	if s := all.byName(name); s != nil {
		return s, nil
	}
	taken, err := v.taken(name)
	if err != nil {
		return nil, err
	}
	if taken {
		return nil, because(sdk.CodeUnsupported, "it is not a subvolume")
	}
	return nil, because(sdk.CodeNotFound, "there is no such subvolume")
}

// taken reports whether a path is in use, by whatever it may be.
func (v *volume) taken(name string) (bool, error) {
	parent, base, err := v.openParent(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return true, nil // part of the path is a symbolic link or file
	}
	if err != nil {
		return false, err
	}
	defer parent.Close()
	var st unix.Stat_t
	err = unix.Fstatat(int(parent.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// resolveBeneath keeps a lookup within the filesystem and off symbolic links,
// which whoever writes into a tree could have put there.
const resolveBeneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// openParent opens the directory that a name is in, for the *at calls.
func (v *volume) openParent(name string) (*os.File, string, error) {
	directory, base := path.Split(name)
	if directory == "" {
		directory = "."
	}
	file, err := v.openDirectory(directory)
	return file, base, err
}

func (v *volume) openDirectory(name string) (*os.File, error) {
	fd, err := unix.Openat2(int(v.top.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: resolveBeneath,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(v.mount.Directory, name)), nil
}

// open opens the top directory of a subvolume and makes sure that it is this one:
// names can move between the reading of the tree and the opening.
func (v *volume) open(s *subvolume) (*os.File, error) {
	file, err := v.openDirectory(s.name)
	if err != nil {
		return nil, err
	}
	id, err := ioctl.SubvolumeOf(int(file.Fd()))
	if err == nil && id != s.id {
		err = because(sdk.CodeBusy, "somebody else gave its name to subvolume %d meanwhile", id)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func (p *plugin) List(ctx context.Context) ([]sdk.Subvolume, error) {
	v, err := p.begin(ctx, "list", "subvolumes")
	if err != nil {
		return nil, err
	}
	all, err := v.readSubvolumes()
	if err != nil {
		return nil, failure("list", "subvolumes", err)
	}
	list := make([]sdk.Subvolume, 0, len(all))
	for _, s := range all {
		list = append(list, v.describe(all, s))
	}
	slices.SortFunc(list, func(a, b sdk.Subvolume) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (p *plugin) Lookup(ctx context.Context, name string) (sdk.Subvolume, error) {
	v, err := p.begin(ctx, "look up", name)
	if err != nil {
		return sdk.Subvolume{}, err
	}
	all, err := v.readSubvolumes()
	if err != nil {
		return sdk.Subvolume{}, failure("look up", name, err)
	}
	s, err := v.lookup(all, name)
	if err != nil {
		return sdk.Subvolume{}, failure("look up", name, err)
	}
	return v.describe(all, s), nil
}

func (p *plugin) Get(ctx context.Context, id sdk.Identity) (sdk.Subvolume, error) {
	v, err := p.begin(ctx, "get subvolume", string(id))
	if err != nil {
		return sdk.Subvolume{}, err
	}
	all, s, err := v.find(id)
	if err != nil {
		return sdk.Subvolume{}, failure("get subvolume", string(id), err)
	}
	return v.describe(all, s), nil
}
