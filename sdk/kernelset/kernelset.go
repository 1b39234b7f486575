// Package kernelset finds what is booted together with a root tree: kernel,
// initrd, device trees and what belongs to them. It only reads.
package kernelset

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// ErrNoKernel says that a tree holds no kernel that could be booted with it.
var ErrNoKernel = errors.New("no kernel")

// File is one file of a kernel set.
type File struct {
	Role   sdk.FileRole
	Source string // path within the root tree
	Name   string // path within the directory that the set is installed into
	Size   uint64
}

// Set is a kernel set: exactly one kernel, first, and what belongs to it.
type Set struct {
	Version string // kernel release
	Files   []File
}

// DefaultKernels is where a kernel is looked for: Debian and most others, the
// place of the Boot Loader Specification's tools, ARM.
func DefaultKernels() []string {
	return []string{"boot/vmlinuz*", "usr/lib/modules/*/vmlinuz", "lib/modules/*/vmlinuz", "boot/vmlinux*", "boot/Image*", "boot/zImage*", "boot/kernel-*"}
}

// modulesDirectories are the same where /lib is a link to /usr/lib.
var modulesDirectories = [...]string{"usr/lib/modules", "lib/modules"}

// The places of a file that belongs to a kernel, %s standing for its release. The
// first that exists counts.
var (
	initrdPlaces = [...]string{"boot/initrd.img-%s", "boot/initramfs-%s.img", "boot/initrd-%s", "boot/initrd-%s.img", "boot/initramfs-%s",
		"usr/lib/modules/%s/initrd", "usr/lib/modules/%s/initrd.img", "usr/lib/modules/%s/initramfs.img"}
	systemMapPlaces  = [...]string{"boot/System.map-%s", "usr/lib/modules/%s/System.map"}
	configPlaces     = [...]string{"boot/config-%s", "usr/lib/modules/%s/config"}
	deviceTreePlaces = [...]string{"usr/lib/linux-image-%s", "boot/dtbs/%s", "boot/dtb-%s", "usr/lib/modules/%s/dtb", "usr/lib/modules/%s/dtbs"}
)

type candidate struct {
	path    string
	version string
	size    uint64
}

// Find gives the kernel set of a tree. kernels are patterns as in DefaultKernels.
//
// Where there are several kernels, it is the one that the link boot/vmlinuz or
// vmlinuz points to, or else the highest version. A tree that has modules must have
// those of its kernel: the two always match.
//
// Errors: ErrNoKernel, with the places that were searched or the reason.
func Find(root *Root, kernels []string) (Set, error) {
	candidates, err := findKernels(root, kernels)
	if err != nil {
		return Set{}, err
	}
	if len(candidates) == 0 {
		return Set{}, fmt.Errorf("%w in %s", ErrNoKernel, strings.Join(kernels, ", "))
	}
	modules, err := modulesVersions(root)
	if err != nil {
		return Set{}, err
	}
	kernel := choose(root, candidates)
	if len(modules) > 0 && !slices.Contains(modules, kernel.version) {
		return Set{}, fmt.Errorf("%w with its modules: %s is version %q, and there are modules for %s only",
			ErrNoKernel, kernel.path, kernel.version, strings.Join(modules, ", "))
	}
	set := Set{Version: kernel.version, Files: []File{{sdk.RoleKernel, kernel.path, "vmlinuz", kernel.size}}}
	set.addFirst(root, sdk.RoleInitrd, "initrd", initrdPlaces[:])
	set.addFirst(root, sdk.RoleSystemMap, "System.map", systemMapPlaces[:])
	set.addFirst(root, sdk.RoleConfig, "config", configPlaces[:])
	if err := set.addDeviceTrees(root); err != nil {
		return Set{}, err
	}
	return set, nil
}

func findKernels(root *Root, patterns []string) ([]candidate, error) {
	var found []candidate
	for _, pattern := range patterns {
		paths, err := root.glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			// A link counts for what it points to, which choose looks at.
			size, ok := root.regular(p)
			if !ok || size == 0 || root.readLink(p) != "" {
				continue
			}
			version, err := versionOf(root, p)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(found, func(c candidate) bool { return c.version == version }) {
				found = append(found, candidate{p, version, size})
			}
		}
	}
	return found, nil
}

// choose gives the kernel that the tree's own links name, or the highest version.
func choose(root *Root, candidates []candidate) candidate {
	for _, link := range []string{"boot/vmlinuz", "vmlinuz", "boot/Image"} {
		target := root.readLink(link)
		if target == "" {
			continue
		}
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(link), target)
		}
		target = strings.TrimPrefix(path.Clean(target), "/")
		for _, c := range candidates {
			if c.path == target {
				return c
			}
		}
	}
	return slices.MaxFunc(candidates, func(a, b candidate) int { return CompareVersions(a.version, b.version) })
}

func modulesVersions(root *Root) ([]string, error) {
	var versions []string
	for _, dir := range modulesDirectories {
		names, err := root.list(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			// What a removed kernel leaves behind is often a directory without
			// modules.dep.
			for _, file := range []string{"modules.dep", "modules.dep.bin", "modules.order", "kernel"} {
				if handle, err := root.Open(path.Join(dir, name, file)); err == nil {
					handle.Close()
					versions = append(versions, name)
					break
				}
			}
		}
	}
	slices.Sort(versions)
	return slices.Compact(versions), nil
}

func (s *Set) addFirst(root *Root, role sdk.FileRole, name string, places []string) {
	for _, place := range places {
		source := fmt.Sprintf(place, s.Version)
		if size, ok := root.regular(source); ok && size > 0 {
			s.Files = append(s.Files, File{role, source, name, size})
			return
		}
	}
}

// addDeviceTrees adds the blobs of the first place that has any, each under its
// path there, by which U-Boot and settings name it ("broadcom/bcm2837-rpi-3-b.dtb").
func (s *Set) addDeviceTrees(root *Root) error {
	for _, place := range deviceTreePlaces {
		base := fmt.Sprintf(place, s.Version)
		before := len(s.Files)
		if err := s.addBlobs(root, base, "."); err != nil {
			return err
		}
		if len(s.Files) > before {
			return nil
		}
	}
	return nil
}

// addBlobs descends into directories, but not into links to some, which could loop.
func (s *Set) addBlobs(root *Root, base, dir string) error {
	names, err := root.list(path.Join(base, dir))
	if err != nil {
		return err
	}
	for _, name := range names {
		relative := path.Join(dir, name)
		source := path.Join(base, relative)
		size, regular := root.regular(source)
		switch {
		case !regular && root.readLink(source) != "":
		case !regular:
			if err := s.addBlobs(root, base, relative); err != nil {
				return err
			}
		case strings.HasSuffix(name, ".dtb"), strings.HasSuffix(name, ".dtbo"):
			s.Files = append(s.Files, File{sdk.RoleDeviceTree, source, path.Join("dtb", relative), size})
		}
	}
	return nil
}
