package release

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/trebuchet-update/tbupdate/lab/cache"
	"github.com/trebuchet-update/tbupdate/lab/command"
)

// hardwareWatchdog is the driver of the watchdog device that QEMU has. The kernels that
// releases take turns with, made for clouds, lack it.
const hardwareWatchdog = "i6300esb"

// watchdogModules are what the release's initramfs starts a watchdog with.
func (r Release) watchdogModules() []string {
	if r.Defect == Lockup {
		return []string{hardwareWatchdog}
	}
	return watchdogModules
}

// genericKernel gives the distribution's kernel for real machines. It is downloaded for
// the releases that need it only.
func genericKernel(ctx context.Context, store cache.Store) (Kernel, error) {
	arguments := []string{
		"--mount", "--propagation", "private",
		"mmdebstrap", "--quiet", "--mode=root", "--variant=extract", "--format=directory", "--include=linux-image-amd64",
		// Nothing configures the tree, so nobody else merges its /usr.
		`--setup-hook=for d in bin sbin lib lib64; do mkdir -p "$1/usr/$d" && ln -s "usr/$d" "$1/$d"; done`,
		"bookworm",
	}
	modules := slices.Concat(initramfsModules, rootModules, []string{hardwareWatchdog})
	tree, err := store.Get("kernel-generic", cache.KeyOf(arguments, modules), func(path string) error {
		unpacked := path + ".unpacked"
		if err := os.RemoveAll(unpacked); err != nil {
			return err
		}
		defer os.RemoveAll(unpacked)
		if _, err := command.Run(ctx, nil, "unshare", append(slices.Clone(arguments), unpacked)...); err != nil {
			return err
		}
		whole, err := kernelIn(unpacked)
		if err != nil {
			return err
		}
		if _, err := command.Run(ctx, nil, "depmod", "--basedir", filepath.Join(unpacked, "usr"), whole.Release); err != nil {
			return err
		}
		if err := copyFile(filepath.Join(path, "boot", filepath.Base(whole.image())), whole.image(), 0o644); err != nil {
			return err
		}
		return whole.copyModules(ctx, path, modules...)
	})
	if err != nil {
		return Kernel{}, err
	}
	return kernelIn(tree)
}
