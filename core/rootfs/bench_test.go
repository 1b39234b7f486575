package rootfs_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/trebuchet-update/tbupdate/core/rootfs"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// BenchmarkDeploy compares deploying a few hundred megabytes of new files, flush
// included, with cp of the same files and sync, on the same filesystem. Its result
// is the ratio of the two times, both for files like those of a distribution and for
// a few large ones.
func BenchmarkDeploy(b *testing.B) {
	for _, c := range []struct {
		name  string
		files int
		size  func(*rand.Rand) int
	}{
		{"small", 9000, func(r *rand.Rand) int { return min(int(math.Exp(8+1.6*r.NormFloat64())), 3<<20) }},
		{"large", 8, func(*rand.Rand) int { return 25 << 20 }},
	} {
		b.Run(c.name, func(b *testing.B) {
			source := b.TempDir()
			patch, total := makeFiles(b, source, c.files, c.size)
			b.SetBytes(total)
			var copying, deploying time.Duration
			for b.Loop() {
				root := loopback.New(b, loopback.Options{Filesystem: loopback.Btrfs, Size: 2 << 30}).Mount(b)
				start := time.Now()
				run(b, "cp", "-r", source, root+"/copy")
				run(b, "sync", "-f", root)
				copying += time.Since(start)

				root = loopback.New(b, loopback.Options{Filesystem: loopback.Btrfs, Size: 2 << 30}).Mount(b)
				start = time.Now()
				deployFile(b, root, patch)
				deploying += time.Since(start)
			}
			b.ReportMetric(float64(deploying)/float64(copying), "times-cp")
			b.ReportMetric(float64(total)/1e6/(deploying.Seconds()/float64(b.N)), "deploy-MB/s")
		})
	}
}

// makeFiles fills source with random files and gives a stream that makes the same.
func makeFiles(b *testing.B, source string, files int, size func(*rand.Rand) int) (patch string, total int64) {
	b.Helper()
	seed := rand.NewChaCha8([32]byte{3})
	random := rand.New(seed)
	patch = filepath.Join(b.TempDir(), "patch")
	out, err := os.Create(patch)
	must(b, err)
	w := tbdiff.NewWriter(out)
	const perDirectory = 30
	for i := range files {
		dir := fmt.Sprintf("d%d", i/perDirectory)
		if i%perDirectory == 0 {
			must(b, os.Mkdir(filepath.Join(source, dir), 0o755))
			must(b, w.Write(tbdiff.DirCreate{Name: dir, Mode: directory}))
			must(b, w.Write(tbdiff.DirEnter{Name: dir}))
		}
		data := make([]byte, size(random))
		seed.Read(data)
		name := fmt.Sprintf("f%d", i)
		must(b, os.WriteFile(filepath.Join(source, dir, name), data, 0o644))
		must(b, w.WriteData(tbdiff.FileCreate{Name: name, Mode: plain, Size: uint32(len(data))}, bytes.NewReader(data)))
		if i%perDirectory == perDirectory-1 || i == files-1 {
			must(b, w.Write(tbdiff.DirLeave{Mtime: 1}))
		}
		total += int64(len(data))
	}
	must(b, w.Close())
	must(b, out.Sync())
	must(b, out.Close())
	return patch, total
}

func deployFile(b *testing.B, root, patch string) {
	b.Helper()
	in, err := os.Open(patch)
	must(b, err)
	defer in.Close()
	tree, err := rootfs.Open(root)
	must(b, err)
	defer tree.Close()
	_, err = tree.Deploy(context.Background(), tbdiff.NewReader(in), rootfs.Options{})
	must(b, err)
	must(b, tree.Sync())
}
