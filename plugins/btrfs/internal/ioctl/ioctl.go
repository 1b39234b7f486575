// Package ioctl holds the btrfs requests that package dennwc/btrfs does not have,
// or whose errors it hides behind text (creating a snapshot).
//
// Structures and numbers are those of linux/btrfs.h; the names in the comments
// are the header's. Every structure has the same size and layout on 32-bit and
// 64-bit machines.
package ioctl

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Request numbers as linux/ioctl.h composes them: direction, size of the
// argument, magic, number.
const (
	directionWrite = 1 << 30
	directionRead  = 2 << 30
	magic          = 0x94 << 8 // BTRFS_IOCTL_MAGIC

	requestTreeSearch    = directionRead | directionWrite | unsafe.Sizeof(searchHeader{})<<16 | magic | 17
	requestInodeLookup   = directionRead | directionWrite | unsafe.Sizeof(lookupArguments{})<<16 | magic | 18
	requestDefaultSubvol = directionWrite | 8<<16 | magic | 19
	requestSpaceInfo     = directionRead | directionWrite | 16<<16 | magic | 20
	requestSnapCreateV2  = directionWrite | unsafe.Sizeof(volumeArguments{})<<16 | magic | 23
	requestSend          = directionWrite | unsafe.Sizeof(sendArguments{})<<16 | magic | 38
	requestSnapDestroyV2 = directionWrite | unsafe.Sizeof(volumeArguments{})<<16 | magic | 63
	requestFSInfo        = directionRead | unsafe.Sizeof(infoArguments{})<<16 | magic | 31
	requestScanDevice    = directionWrite | unsafe.Sizeof(pathArguments{})<<16 | magic | 4
)

// do runs a request whose argument is a pointer.
func do(fd int, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

// volumeArguments is struct btrfs_ioctl_vol_args_v2.
type volumeArguments struct {
	fd      int64
	transid uint64
	flags   uint64
	_       [4]uint64 // union: qgroup inheritance, not used
	name    [4040]byte
}

// Flags of volumeArguments.
const (
	flagReadOnly = 1 << 1 // BTRFS_SUBVOL_RDONLY
	flagByID     = 1 << 4 // BTRFS_SUBVOL_SPEC_BY_ID
)

// CreateSnapshot makes a snapshot of the subvolume that source is open on, as
// name in the directory. It never goes into an existing directory: a name that is
// taken is EEXIST. It is committed to disk, with all that was written to the
// source before, when it returns (create_snapshot in fs/btrfs/ioctl.c).
func CreateSnapshot(directory int, name string, source int, readOnly bool) error {
	arguments := volumeArguments{fd: int64(source)}
	if len(name) >= len(arguments.name) {
		return unix.ENAMETOOLONG
	}
	if readOnly {
		arguments.flags = flagReadOnly
	}
	copy(arguments.name[:], name)
	return do(directory, requestSnapCreateV2, unsafe.Pointer(&arguments))
}

// DeleteSubvolume deletes the subvolume with this id, wherever it is in the
// filesystem that fd is open on (Linux 5.7).
func DeleteSubvolume(fd int, id uint64) error {
	arguments := volumeArguments{flags: flagByID}
	binary.NativeEndian.PutUint64(arguments.name[:], id) // union with subvolid
	return do(fd, requestSnapDestroyV2, unsafe.Pointer(&arguments))
}

// SetDefault makes the subvolume with this id the one that is mounted when
// nothing says which.
func SetDefault(fd int, id uint64) error {
	return do(fd, requestDefaultSubvol, unsafe.Pointer(&id))
}

// pathArguments is struct btrfs_ioctl_vol_args.
type pathArguments struct {
	fd   int64
	name [4088]byte
}

// ScanDevice tells the kernel, through /dev/btrfs-control, that a device belongs
// to a filesystem of several devices.
func ScanDevice(control int, path string) error {
	var arguments pathArguments
	if len(path) >= len(arguments.name) {
		return unix.ENAMETOOLONG
	}
	copy(arguments.name[:], path)
	return do(control, requestScanDevice, unsafe.Pointer(&arguments))
}

// infoArguments is the beginning of struct btrfs_ioctl_fs_info_args, and its
// size.
type infoArguments struct {
	maxID   uint64
	devices uint64
	fsid    [16]byte
	_       [1024 - 32]byte
}

// FilesystemUUID gives the UUID of the filesystem that a file is on.
func FilesystemUUID(fd int) ([16]byte, error) {
	var arguments infoArguments
	err := do(fd, requestFSInfo, unsafe.Pointer(&arguments))
	return arguments.fsid, err
}

// lookupArguments is struct btrfs_ioctl_ino_lookup_args.
type lookupArguments struct {
	tree  uint64
	inode uint64
	name  [4080]byte // BTRFS_INO_LOOKUP_PATH_MAX
}

// FirstInode is the number of every subvolume's own top directory
// (BTRFS_FIRST_FREE_OBJECTID).
const FirstInode = 256

// SubvolumeOf gives the id of the subvolume that a file is in.
func SubvolumeOf(fd int) (uint64, error) {
	// Tree 0 stands for the file's own; the kernel fills in its id.
	arguments := lookupArguments{inode: FirstInode}
	err := do(fd, requestInodeLookup, unsafe.Pointer(&arguments))
	return arguments.tree, err
}

// DirectoryPath gives the path of a directory within its subvolume, "" for the
// top and otherwise with a slash at its end.
func DirectoryPath(fd int, subvolume, inode uint64) (string, error) {
	arguments := lookupArguments{tree: subvolume, inode: inode}
	if err := do(fd, requestInodeLookup, unsafe.Pointer(&arguments)); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(arguments.name[:]), nil
}

// Space is one of the filesystem's pools of space: struct btrfs_ioctl_space_info.
type Space struct {
	Flags uint64 // kind and profile
	Total uint64 // bytes
	Used  uint64
}

// Kinds and profiles of space: BTRFS_BLOCK_GROUP_… of linux/btrfs_tree.h, and
// the two bits that only this request gives.
const (
	SpaceData          = 1 << 0
	SpaceSystem        = 1 << 1
	SpaceMetadata      = 1 << 2
	SpaceRAID1         = 1 << 4
	SpaceDUP           = 1 << 5
	SpaceRAID10        = 1 << 6
	SpaceRAID1C3       = 1 << 9
	SpaceRAID1C4       = 1 << 10
	SpaceGlobalReserve = 1 << 49 // BTRFS_SPACE_INFO_GLOBAL_RSV
)

// Spaces lists the pools of space.
func Spaces(fd int) ([]Space, error) {
	// struct btrfs_ioctl_space_args: slots, total, and then that many spaces. With
	// no slots the kernel says how many there are.
	var header [2]uint64
	if err := do(fd, requestSpaceInfo, unsafe.Pointer(&header)); err != nil {
		return nil, err
	}
	count := header[1]
	if count == 0 || count > 1<<10 {
		return nil, fmt.Errorf("the kernel names %d kinds of space", count)
	}
	buffer := make([]uint64, 2+3*count)
	buffer[0] = count
	if err := do(fd, requestSpaceInfo, unsafe.Pointer(&buffer[0])); err != nil {
		return nil, err
	}
	spaces := make([]Space, min(buffer[1], count))
	for i := range spaces {
		s := buffer[2+3*i:]
		spaces[i] = Space{Flags: s[0], Total: s[1], Used: s[2]}
	}
	return spaces, nil
}

// sendArguments is struct btrfs_ioctl_send_args; the pointer in it is always
// null here, so that a number stands for it.
type sendArguments struct {
	fd           int64
	cloneCount   uint64
	cloneSources uint64
	parent       uint64
	flags        uint64
	version      uint32
	_            [28]uint8
}

// flagNoFileData is BTRFS_SEND_FLAG_NO_FILE_DATA.
const flagNoFileData = 1

// SendChanges writes to target what makes the subvolume parent into the one that
// fd is open on, as a send stream of version 1 with the places of changed file
// data and without the data. Both must be read-only. It returns when the stream
// is complete, or with EPIPE when the target's reader is gone.
func SendChanges(fd int, parent uint64, target int) error {
	arguments := sendArguments{fd: int64(target), parent: parent, flags: flagNoFileData}
	return do(fd, requestSend, unsafe.Pointer(&arguments))
}
