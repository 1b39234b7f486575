package arm64tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/trebuchet-update/tbupdate/lab/command"
)

// modules are what the machines use; what these need comes along.
//
// btrfs asks for a checksum by name, so its module is not among the dependencies.
// vfat needs the code pages that it is built to use.
func modules() []string {
	return []string{
		"virtio_pci", "virtio_blk", "virtio_console", "virtio-rng",
		"btrfs", "crc32c_generic", "vfat", "nls_cp437", "nls_ascii", "nls_utf8",
		"softdog", "loop",
	}
}

// copyKernel copies the one kernel of an unpacked tree, with its modules.
func copyKernel(ctx context.Context, unpacked, to string) error {
	const prefix = "boot/vmlinuz-"
	images, err := filepath.Glob(filepath.Join(unpacked, prefix+"*"))
	if err != nil {
		return err
	}
	if len(images) != 1 {
		return fmt.Errorf("%s brought %d kernels, want one", kernelPackage, len(images))
	}
	version := strings.TrimPrefix(filepath.Base(images[0]), filepath.Base(prefix))
	if err := copyFile(unpacked, prefix+version, to); err != nil {
		return err
	}
	folder := filepath.Join("usr/lib/modules", version)
	index, err := indexModules(filepath.Join(unpacked, folder))
	if err != nil {
		return err
	}
	for _, name := range modules() {
		if err := index.copyModule(name, unpacked, to); err != nil {
			return err
		}
	}
	// Lists of what is built in: without them depmod and modprobe complain.
	for _, list := range []string{"modules.builtin", "modules.builtin.modinfo", "modules.order"} {
		if err := copyFile(unpacked, filepath.Join(folder, list), to); err != nil {
			return err
		}
	}
	_, err = command.Run(ctx, nil, "depmod", "-b", filepath.Join(to, "usr"), version)
	return err
}

// moduleIndex has the modules of a tree by name.
type moduleIndex struct {
	path    map[string]string // absolute
	builtin map[string]bool
	copied  map[string]bool
}

func indexModules(dir string) (moduleIndex, error) {
	index := moduleIndex{path: map[string]string{}, builtin: map[string]bool{}, copied: map[string]bool{}}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".ko") {
			index.path[moduleName(path)] = path
		}
		return err
	})
	if err != nil {
		return index, err
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return index, err
	}
	for _, path := range strings.Fields(string(builtin)) {
		index.builtin[moduleName(path)] = true
	}
	if len(index.path) == 0 {
		return index, errors.New("the kernel has no modules")
	}
	return index, nil
}

// moduleName is a module's name as the kernel knows it: files use '-' or '_'.
func moduleName(path string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")
}

// copyModule copies a module and what it needs, from one tree into another.
func (i moduleIndex) copyModule(name, from, to string) error {
	name = moduleName(name)
	if i.copied[name] || i.builtin[name] {
		return nil
	}
	path, ok := i.path[name]
	if !ok {
		return fmt.Errorf("the kernel has no module %s", name)
	}
	i.copied[name] = true
	needed, err := moduleDependencies(path)
	if err != nil {
		return err
	}
	for _, other := range needed {
		if err := i.copyModule(other, from, to); err != nil {
			return err
		}
	}
	relative, err := filepath.Rel(from, path)
	if err != nil {
		return err
	}
	return copyFile(from, relative, to)
}
