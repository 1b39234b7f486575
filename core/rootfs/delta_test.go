package rootfs_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// deltaCase replaces old[start:end] by size new bytes.
type deltaCase struct{ old, start, end, size int }

func deltaCases() []deltaCase {
	const block, clone = 4096, 128 << 10
	cases := []deltaCase{
		{0, 0, 0, 0}, {0, 0, 0, 5}, {5, 0, 5, 0}, {5, 5, 5, 3}, {5, 0, 0, 3}, {5, 2, 3, 1}, {5, 1, 4, 0},
		{block, 0, block, block}, {block, block - 1, block, 1}, {3 * block, block, 2 * block, block},
	}
	// Lengths around the one from which ranges are cloned, at offsets that keep and
	// that lose the alignment to blocks, with equal and with other sizes.
	for _, at := range []int{clone - 1, clone, clone + 1, 3*clone + 17} {
		for _, size := range []int{0, 1, block, block + 1, 1<<20 + 3} {
			cases = append(cases,
				deltaCase{at + 3*clone, at, at, size},
				deltaCase{at + 3*clone + size, at, at + size, size},
				deltaCase{at + 3*clone + 5, at, at + 5, size},
			)
		}
	}
	return cases
}

// New content is old[0:start] + data + old[end:], on filesystems that share extents
// and on those that do not.
func TestDeployDelta(t *testing.T) {
	places := map[string]string{
		"ext4":  loopback.New(t, loopback.Options{Filesystem: loopback.Ext4, Size: 128 << 20}).Mount(t),
		"btrfs": loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs, Size: 256 << 20}).Mount(t),
		"tmpfs": inMemory(t),
	}
	random := rand.NewChaCha8([32]byte{1})
	for place, root := range places {
		for _, c := range deltaCases() {
			t.Run(fmt.Sprintf("%s/%d bytes, %d to %d by %d", place, c.old, c.start, c.end, c.size), func(t *testing.T) {
				old, data := make([]byte, c.old), make([]byte, c.size)
				random.Read(old)
				random.Read(data)
				must(t, os.WriteFile(root+"/f", old, 0o644))
				stats := mustDeploy(t, root, tbdiff.FileDelta{Name: "f", Mode: plain, Start: uint32(c.start), End: uint32(c.end)}, content(data))
				want := bytes.Join([][]byte{old[:c.start], data, old[c.end:]}, nil)
				got, err := os.ReadFile(root + "/f")
				must(t, err)
				if !bytes.Equal(got, want) {
					t.Errorf("content of %d bytes differs from the wanted %d bytes", len(got), len(want))
				}
				wantStats := rootfs.Stats{NewBytes: int64(c.size), KeptBytes: int64(len(want) - c.size)}
				if stats.NewBytes != wantStats.NewBytes || stats.KeptBytes != wantStats.KeptBytes {
					t.Errorf("stats are %+v, want %+v", stats, wantStats)
				}
			})
		}
	}
}

// A small change to a large file costs little room where extents can be shared.
func TestDeployDeltaSharesExtents(t *testing.T) {
	const size, at = 64 << 20, 20<<20 + 100
	root := loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs, Size: 256 << 20}).Mount(t)
	old := make([]byte, size)
	rand.NewChaCha8([32]byte{2}).Read(old)
	must(t, os.WriteFile(root+"/f", old, 0o644))
	// The old content stays in use, as it would in a snapshot.
	must(t, os.Link(root+"/f", root+"/snapshot"))
	tree, err := rootfs.Open(root)
	must(t, err)
	defer tree.Close()
	must(t, tree.Sync())
	before := used(t, root)
	mustDeploy(t, root, tbdiff.FileDelta{Name: "f", Mode: plain, Start: at, End: at + 10}, content("ten bytes!"))
	must(t, tree.Sync())
	if grown := used(t, root) - before; grown > 4<<20 {
		t.Errorf("ten new bytes in a file of %d took %d bytes of room", size, grown)
	}
}
