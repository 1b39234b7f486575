package powercut

import (
	"context"
	"errors"

	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// Scratch is a filesystem whose files share what they have in common, so that many disks that differ
// little take little room.
type Scratch struct {
	Directory string // where it is mounted
	loop      *loopback.Loop
}

// scratchSize is that of a filesystem of which little is used, in bytes.
const scratchSize = 16 << 30

// NewScratch makes one in the file image, and mounts it on an empty directory. Close unmounts it.
func NewScratch(ctx context.Context, image, directory string) (*Scratch, error) {
	if err := loopback.CreateImage(image, scratchSize); err != nil {
		return nil, err
	}
	if err := loopback.Format(ctx, image, loopback.Btrfs); err != nil {
		return nil, err
	}
	loop, err := loopback.Attach(image)
	if err != nil {
		return nil, err
	}
	if err := loopback.Mount(loop.Path, directory, loopback.Btrfs); err != nil {
		return nil, errors.Join(err, loop.Detach())
	}
	return &Scratch{directory, loop}, nil
}

// Close unmounts it. Its image stays.
func (s *Scratch) Close() error {
	return errors.Join(loopback.Unmount(s.Directory), s.loop.Detach())
}
