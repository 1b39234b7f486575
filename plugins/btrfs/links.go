package main

import (
	"encoding/binary"
	"fmt"
	"path"

	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/ioctl"
)

// linksTo gives all paths of a file within its subvolume. The request for that,
// BTRFS_IOC_INO_PATHS, gives no more than fit into 4 KiB; the tree has them all.
func (v *volume) linksTo(subvolume, inode uint64) ([]string, error) {
	var names []string
	err := ioctl.Search(int(v.top.Fd()), ioctl.Range{
		Tree:        subvolume,
		FirstObject: inode, LastObject: inode,
		FirstType: ioctl.TypeInodeRef, LastType: ioctl.TypeExtref,
	}, func(item ioctl.Item) error {
		links, err := parseLinks(item)
		if err != nil {
			return err
		}
		for _, link := range links {
			directory, err := ioctl.DirectoryPath(int(v.top.Fd()), subvolume, link.directory)
			if err != nil {
				return err
			}
			names = append(names, path.Join(directory, link.name))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot find the names of inode %d of subvolume %d: %w", inode, subvolume, err)
	}
	return names, nil
}

// link is one name of a file.
type link struct {
	directory uint64 // inode
	name      string
}

// parseLinks reads an item that holds the names of an inode, one after the other
// (linux/btrfs_tree.h): struct btrfs_inode_ref, with the directory in the item's
// offset, has index (8 bytes), length (2), name; struct btrfs_inode_extref has
// directory (8), index (8), length (2), name.
func parseLinks(item ioctl.Item) ([]link, error) {
	header := 10
	if item.Type == ioctl.TypeExtref {
		header = 18
	}
	var links []link
	for data := item.Data; len(data) > 0; {
		if len(data) < header {
			return nil, fmt.Errorf("reference of inode %d is cut short", item.Object)
		}
		directory := item.Offset
		if item.Type == ioctl.TypeExtref {
			directory = binary.LittleEndian.Uint64(data)
		}
		end := header + int(binary.LittleEndian.Uint16(data[header-2:]))
		if end > len(data) {
			return nil, fmt.Errorf("reference of inode %d is cut short", item.Object)
		}
		links = append(links, link{directory: directory, name: string(data[header:end])})
		data = data[end:]
	}
	return links, nil
}
