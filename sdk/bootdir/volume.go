package bootdir

import (
	"context"
	"io"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/extfs"
)

// Volume is the filesystem that the loader reads. *extfs.Volume is one.
type Volume interface {
	// Path joins names to the directory where it is mounted; without names it is
	// that directory.
	Path(names ...string) string
	// Space gives the room that there is now. A filesystem without inodes says that
	// it has as many as the number can hold.
	Space() (extfs.Space, error)
	ReadOnly() (bool, error)
	// Settle brings everything written so far to where a loader finds it.
	Settle() error
	// Replace gives an existing or new file another content: a loader finds the old
	// file or the new one at every instant.
	Replace(path string, data []byte) error
	// ReplaceFrom is the same with content that is read from somewhere. It gives
	// its size, and its SHA-256 in lower-case hex.
	ReplaceFrom(ctx context.Context, path string, content io.Reader) (size uint64, sum string, err error)
	// Check says what stands in the way on this filesystem, whatever the loader.
	Check() ([]sdk.Finding, error)
	Close() error
}

var _ Volume = (*extfs.Volume)(nil)
