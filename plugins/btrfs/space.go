package main

import (
	"context"
	"fmt"

	"github.com/dennwc/btrfs"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/ioctl"
	"github.com/trebuchet-update/tbupdate/sdk"
)

func (p *plugin) Volume(ctx context.Context) (sdk.Volume, error) {
	v, err := p.begin(ctx, "measure", "the volume")
	if err != nil {
		return sdk.Volume{}, err
	}
	room, err := v.measure()
	if err != nil {
		return sdk.Volume{}, failure("measure", v.device, err)
	}
	return sdk.Volume{
		Kind:              "btrfs",
		ID:                v.uuid,
		Device:            v.device,
		TotalBytes:        room.total,
		FreeBytes:         room.data(),
		MetadataFreeBytes: room.metadata(),
	}, nil
}

// room is the space of a filesystem in bytes of content: what a copy or parity
// takes is divided out.
//
// btrfs hands out its devices in chunks, for data or for metadata, and gets ENOSPC
// as soon as either kind is full and nothing is left to hand out, however much of
// the other kind is free. So both kinds are measured, and what is not handed out
// yet counts for either, since either may take it.
type room struct {
	total        uint64
	available    uint64 // for data, as statfs(2) estimates it
	metadataFree uint64 // in chunks that are handed out, less the kernel's reserve
	// unallocated is what is not handed out, in bytes of the devices, and
	// metadataCopies how many of them a byte of metadata takes.
	unallocated    uint64
	metadataCopies uint64
}

// metadataShare is how much metadata a system's files need: one byte for so many
// bytes of data. Checksums alone take 1/1024; small files, which are kept within
// the metadata, extents, inodes and names come on top. A Debian root takes 1/40
// to 1/25.
const metadataShare = 25

// data gives the room for data that also leaves metadata room to describe it.
func (r room) data() uint64 {
	needed := r.available / metadataShare
	if needed <= r.metadataFree {
		return r.available
	}
	// The missing metadata comes out of what is not handed out, or, where that is
	// too little, bounds the data.
	missing := min((needed-r.metadataFree)*r.metadataCopies, r.available)
	possible := (r.metadataFree + r.unallocated/r.metadataCopies) * metadataShare
	return min(r.available-missing, possible)
}

// metadata gives the room for metadata, had data no need of any.
func (r room) metadata() uint64 {
	return r.metadataFree + r.unallocated/r.metadataCopies
}

func (v *volume) measure() (room, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(v.top.Fd()), &st); err != nil {
		return room{}, err
	}
	block := uint64(st.Bsize)
	r := room{total: st.Blocks * block, available: st.Bavail * block, metadataCopies: 1}
	spaces, err := ioctl.Spaces(int(v.top.Fd()))
	if err != nil {
		return room{}, fmt.Errorf("cannot read space information: %w", err)
	}
	var reserve uint64
	for _, space := range spaces {
		switch {
		case space.Flags&ioctl.SpaceGlobalReserve != 0:
			reserve = space.Total
		case space.Flags&ioctl.SpaceMetadata != 0:
			r.metadataFree += space.Total - min(space.Used, space.Total)
			r.metadataCopies = max(r.metadataCopies, copies(space.Flags))
		}
	}
	// The kernel keeps the reserve back, to be able to delete on a full filesystem.
	r.metadataFree -= min(reserve, r.metadataFree)
	err = eachDevice(v.control, func(_ uint64, device btrfs.DevInfo) error {
		r.unallocated += device.TotalBytes - min(device.BytesUsed, device.TotalBytes)
		return nil
	})
	return r, err
}

// copies says how many bytes of devices a profile takes for each byte. Parity
// profiles, which nobody should use for metadata, count as none.
func copies(flags uint64) uint64 {
	switch {
	case flags&ioctl.SpaceRAID1C4 != 0:
		return 4
	case flags&ioctl.SpaceRAID1C3 != 0:
		return 3
	case flags&(ioctl.SpaceDUP|ioctl.SpaceRAID1|ioctl.SpaceRAID10) != 0:
		return 2
	}
	return 1
}
