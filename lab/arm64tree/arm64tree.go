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
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// Build gives the directory that holds Base, OldKernel and NewKernel, below cache.
// It is made once (about 20 seconds after the downloads) and named after this
// package's source, so that a changed recipe makes a new one. Nobody may write
// there. Several processes may call it at the same time.
func Build(ctx context.Context, cache string) (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("cannot build the ARM tree: this needs root, since the files belong to root")
	}
	dir := filepath.Join(cache, "arm64-"+recipe())
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return "", fmt.Errorf("cannot build the ARM tree: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := build(ctx, cache, dir); err != nil {
		return "", fmt.Errorf("cannot build the ARM tree: %w", err)
	}
	return dir, nil
}

// build makes the directory under another name and renames it when it is whole.
func build(ctx context.Context, cache, dir string) error {
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	defer os.RemoveAll(part)
	debs := filepath.Join(cache, "debs-arm64")
	for _, d := range []string{part, debs} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	released := unpacking{packages: append(basePackages(), kernelPackage), released: true, debs: debs}
	secured := unpacking{packages: []string{kernelPackage}, debs: debs}
	for _, step := range []struct {
		unpacking
		kernel string
		base   string
	}{
		{released, OldKernel, Base},
		{secured, NewKernel, ""},
	} {
		unpacked := filepath.Join(part, "unpacked")
		if err := step.run(ctx, unpacked); err != nil {
			return err
		}
		if err := copyKernel(ctx, unpacked, filepath.Join(part, step.kernel)); err != nil {
			return err
		}
		if step.base != "" {
			if err := copyBase(ctx, unpacked, filepath.Join(part, step.base)); err != nil {
				return err
			}
		}
		if err := os.RemoveAll(unpacked); err != nil {
			return err
		}
	}
	return os.Rename(part, dir)
}
