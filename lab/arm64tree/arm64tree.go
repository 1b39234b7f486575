// Package arm64tree makes the Debian part of the laboratory's ARM machines: a small
// root tree with the distribution's own flash-kernel, and two kernels with the
// modules that these machines use.
//
// Packages are unpacked, none is configured: no program of the tree is run, so
// nothing that emulates its processor is needed. What a configured system would
// have and flash-kernel asks for is written here.
package arm64tree

import (
	"context"
	"embed"
	"errors"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/lab/cache"
)

// suite is the Debian release that everything comes from.
const suite = "bookworm"

// Paths below the directory that Build gives.
const (
	// Base is the root tree, without a kernel: merged /usr, empty mount points.
	Base = "base"
	// OldKernel and NewKernel hold boot/vmlinuz-VERSION and
	// usr/lib/modules/VERSION, with modules.dep. NewKernel is the one of the
	// security suite; where that suite has none, both are the same.
	OldKernel = "kernel-old"
	NewKernel = "kernel-new"
)

// recipe is this package's source: what is in the cache was made by exactly it.
//
//go:embed *.go
var recipe embed.FS

// Build gives the directory that holds Base, OldKernel and NewKernel. It is made once,
// in about 10 seconds after the downloads.
func Build(ctx context.Context, store cache.Store) (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("cannot build the ARM tree: this needs root, since the files belong to root")
	}
	key, err := sourceKey()
	if err != nil {
		return "", err
	}
	return store.Get("arm64", key, func(path string) error { return build(ctx, store, path) })
}

func sourceKey() (cache.Key, error) {
	entries, err := recipe.ReadDir(".")
	if err != nil {
		return cache.Key{}, err
	}
	var parts []any
	for _, entry := range entries {
		text, err := recipe.ReadFile(entry.Name())
		if err != nil {
			return cache.Key{}, err
		}
		parts = append(parts, entry.Name(), string(text))
	}
	return cache.KeyOf(parts...), nil
}

func build(ctx context.Context, store cache.Store, path string) error {
	unpacked := path + ".unpacked"
	defer os.RemoveAll(unpacked)
	released := unpacking{packages: append(basePackages(), kernelPackage), released: true}
	secured := unpacking{packages: []string{kernelPackage}}
	for _, step := range []struct {
		unpacking
		kernel string
		base   bool
	}{
		{released, OldKernel, true},
		{secured, NewKernel, false},
	} {
		if err := os.RemoveAll(unpacked); err != nil {
			return err
		}
		if err := step.run(ctx, filepath.Join(store.Directory, "debs-arm64"), unpacked); err != nil {
			return err
		}
		if err := copyKernel(ctx, unpacked, filepath.Join(path, step.kernel)); err != nil {
			return err
		}
		if !step.base {
			continue
		}
		if err := copyBase(ctx, unpacked, filepath.Join(path, Base)); err != nil {
			return err
		}
	}
	return nil
}
