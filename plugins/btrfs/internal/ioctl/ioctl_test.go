package ioctl

import (
	"testing"
	"unsafe"
)

// The numbers are what a C compiler makes of linux/btrfs.h on 64-bit and 32-bit
// machines alike. They hold the sizes of the structures.
func TestRequestNumbersAreTheHeaders(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"BTRFS_IOC_SCAN_DEV", requestScanDevice, 0x50009404},
		{"BTRFS_IOC_TREE_SEARCH_V2", requestTreeSearch, 0xc0709411},
		{"BTRFS_IOC_INO_LOOKUP", requestInodeLookup, 0xd0009412},
		{"BTRFS_IOC_DEFAULT_SUBVOL", requestDefaultSubvol, 0x40089413},
		{"BTRFS_IOC_SPACE_INFO", requestSpaceInfo, 0xc0109414},
		{"BTRFS_IOC_SNAP_CREATE_V2", requestSnapCreateV2, 0x50009417},
		{"BTRFS_IOC_FS_INFO", requestFSInfo, 0x8400941f},
		{"BTRFS_IOC_SEND", requestSend, 0x40489426},
		{"BTRFS_IOC_SNAP_DESTROY_V2", requestSnapDestroyV2, 0x5000943f},
	} {
		if c.got != c.want {
			t.Errorf("%s is %#x, want %#x", c.name, c.got, c.want)
		}
	}
	if offset := unsafe.Offsetof(searchArguments{}.buffer); offset != 112 {
		t.Errorf("the buffer of a search is at %d, want 112", offset)
	}
}

func TestSearchGoesOnAfterTheLastKey(t *testing.T) {
	const last = 1<<64 - 1
	for _, c := range []struct {
		name string
		item Item
		want [3]uint64 // object, type, offset
		more bool
	}{
		{"next offset", Item{Object: 5, Type: 132, Offset: 7}, [3]uint64{5, 132, 8}, true},
		{"next type", Item{Object: 5, Type: 132, Offset: last}, [3]uint64{5, 133, 0}, true},
		{"next object", Item{Object: 5, Type: 255, Offset: last}, [3]uint64{6, 0, 0}, true},
		{"the end", Item{Object: last, Type: 255, Offset: last}, [3]uint64{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var k searchKey
			more := k.startAfter(c.item)
			if got := [3]uint64{k.minObject, uint64(k.minType), k.minOffset}; more != c.more || more && got != c.want {
				t.Errorf("got %v, %t; want %v, %t", got, more, c.want, c.more)
			}
		})
	}
}

func TestDamagedAnswersAreErrors(t *testing.T) {
	all := Range{LastType: 255}
	visit := func(Item) error { return nil }
	if _, err := visitItems(make([]byte, 10), 1, all, visit); err != errShortItem {
		t.Errorf("short header: %v", err)
	}
	buffer := make([]byte, 40)
	buffer[28] = 9 // one byte more than there is
	if _, err := visitItems(buffer, 1, all, visit); err != errShortItem {
		t.Errorf("short data: %v", err)
	}
}
