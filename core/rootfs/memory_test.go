package rootfs_test

import (
	"bytes"
	"context"
	"io"
	"math"
	"os"
	"runtime"
	"testing"

	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// endless is a source of bytes that do not matter: what is in the buffer already.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// The largest file of the format, through a pipe, costs less than 32 MiB: made, and
// changed in its first byte. The filesystem compresses its content away.
func TestDeployMemory(t *testing.T) {
	const size = math.MaxUint32
	root := loopback.New(t, loopback.Options{Filesystem: loopback.Btrfs, Size: 2 << 30}).Mount(t, "compress=zstd")
	reader, writer, err := os.Pipe()
	must(t, err)
	written := make(chan error, 1)
	go func() {
		defer writer.Close()
		written <- writeLargest(writer, size)
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	tree, err := rootfs.Open(root)
	must(t, err)
	defer tree.Close()
	stats, err := tree.Deploy(context.Background(), tbdiff.NewReader(reader), rootfs.Options{})
	must(t, err)
	must(t, <-written)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
	if got := lstat(t, root+"/f").Size; got != size || stats.NewBytes != size+1 || stats.KeptBytes != size-1 {
		t.Errorf("the file has %d bytes, of which the stats %+v, want %d", got, stats, int64(size))
	}
}

func writeLargest(sink io.Writer, size uint32) error {
	w := tbdiff.NewWriter(sink)
	if err := w.WriteData(tbdiff.FileCreate{Name: "f", Mode: plain, Size: size}, io.LimitReader(endless{}, int64(size))); err != nil {
		return err
	}
	if err := w.WriteData(tbdiff.FileDelta{Name: "f", Mode: plain, End: 1, Size: 1}, bytes.NewReader([]byte("x"))); err != nil {
		return err
	}
	return w.Close()
}
