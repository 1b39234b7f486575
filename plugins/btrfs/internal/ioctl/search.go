package ioctl

import (
	"encoding/binary"
	"errors"
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Trees, objects and item types of linux/btrfs_tree.h.
const (
	RootTree     = 1 // BTRFS_ROOT_TREE_OBJECTID
	TopLevel     = 5 // BTRFS_FS_TREE_OBJECTID: the subvolume that always exists
	RootTreeDir  = 6 // BTRFS_ROOT_TREE_DIR_OBJECTID
	QuotaTree    = 8 // BTRFS_QUOTA_TREE_OBJECTID
	FirstSubvol  = 256
	LastSubvol   = math.MaxUint64 - 256 + 1 // BTRFS_LAST_FREE_OBJECTID, -256
	TypeInodeRef = 12
	TypeExtref   = 13
	TypeDirItem  = 84
	TypeRootItem = 132
	TypeBackref  = 144 // BTRFS_ROOT_BACKREF_KEY
	TypeQGStatus = 240 // BTRFS_QGROUP_STATUS_KEY
)

// searchKey is struct btrfs_ioctl_search_key.
type searchKey struct {
	tree                   uint64
	minObject, maxObject   uint64
	minOffset, maxOffset   uint64
	minTransid, maxTransid uint64
	minType, maxType       uint32
	items                  uint32
	_                      uint32
	_                      [4]uint64
}

// searchBuffer is room for the largest item there can be, that of a tree with the
// largest nodes (64 KiB), and its header.
const searchBuffer = 64<<10 + itemHeaderSize

// searchArguments is struct btrfs_ioctl_search_args_v2 (Linux 3.14), with its
// buffer. The first version of the request has room for less than 4 KiB and leaves
// out, without a word, an item that is larger, such as the names of a file with
// many links.
type searchArguments struct {
	searchHeader
	buffer [searchBuffer]byte
}

// searchHeader is what the request's number counts as its size.
type searchHeader struct {
	key  searchKey
	size uint64
}

// Item is one item of a tree. Data is valid until the callback returns.
type Item struct {
	Object uint64
	Type   uint32
	Offset uint64
	Data   []byte
}

// Range says which items a search gives: those of the objects from first to last,
// with a type from first to last.
type Range struct {
	Tree                    uint64
	FirstObject, LastObject uint64
	FirstType, LastType     uint32
}

// itemHeaderSize is that of struct btrfs_ioctl_search_header: transid, objectid,
// offset (8 bytes each), type, len (4 bytes each).
const itemHeaderSize = 32

// errShortItem says that the kernel's answer is not what the header file says.
var errShortItem = errors.New("the answer of a tree search is cut short")

// Search calls visit for every item in the range, in the tree's order. A tree that
// does not exist has no items.
func Search(fd int, r Range, visit func(Item) error) error {
	next := searchKey{
		tree:      r.Tree,
		minObject: r.FirstObject, maxObject: r.LastObject,
		minType: r.FirstType, maxType: r.LastType,
		maxOffset: math.MaxUint64, maxTransid: math.MaxUint64,
	}
	arguments := new(searchArguments)
	for {
		arguments.searchHeader = searchHeader{key: next, size: searchBuffer}
		arguments.key.items = math.MaxUint32
		if err := do(fd, requestTreeSearch, unsafe.Pointer(arguments)); err != nil {
			if err == unix.ENOENT {
				return nil
			}
			return err
		}
		if arguments.key.items == 0 {
			return nil
		}
		last, err := visitItems(arguments.buffer[:], arguments.key.items, r, visit)
		if err != nil {
			return err
		}
		if !next.startAfter(last) {
			return nil
		}
	}
}

// visitItems walks the buffer of one answer and gives its last item's key. The
// kernel compares whole keys, so that types outside the range come up between two
// objects: they are left out here.
func visitItems(buffer []byte, count uint32, r Range, visit func(Item) error) (Item, error) {
	var last Item
	for range count {
		if len(buffer) < itemHeaderSize {
			return last, errShortItem
		}
		last = Item{
			Object: binary.NativeEndian.Uint64(buffer[8:]),
			Offset: binary.NativeEndian.Uint64(buffer[16:]),
			Type:   binary.NativeEndian.Uint32(buffer[24:]),
		}
		size := binary.NativeEndian.Uint32(buffer[28:])
		buffer = buffer[itemHeaderSize:]
		if uint64(size) > uint64(len(buffer)) {
			return last, errShortItem
		}
		last.Data, buffer = buffer[:size:size], buffer[size:]
		if last.Type < r.FirstType || last.Type > r.LastType {
			continue
		}
		if err := visit(last); err != nil {
			return last, err
		}
	}
	return last, nil
}

// startAfter makes the search go on with the key that follows an item's, and
// reports whether there is one.
func (k *searchKey) startAfter(last Item) bool {
	k.minObject, k.minType, k.minOffset = last.Object, last.Type, last.Offset
	if k.minOffset++; k.minOffset != 0 {
		return true
	}
	if k.minType++; k.minType <= math.MaxUint8 {
		return true
	}
	k.minType = 0
	k.minObject++
	return k.minObject != 0
}
