package release

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/lab/command"
)

// Kernel is a distribution's kernel.
type Kernel struct {
	Release string // what uname -r says
	Tree    string // a root tree that has it: boot/vmlinuz-RELEASE and usr/lib/modules/RELEASE
}

// kernels gives two kernels of different versions.
func kernels(ctx context.Context, top, arch string) ([]Kernel, error) {
	find, ok := kernelTrees[arch]
	if !ok {
		return nil, fmt.Errorf("the lab has no kernels for %s", arch)
	}
	trees, err := find(ctx, top)
	if err != nil {
		return nil, err
	}
	var found []Kernel
	for _, tree := range trees {
		kernel, err := kernelIn(tree)
		if err != nil {
			return nil, err
		}
		found = append(found, kernel)
	}
	return found, nil
}

// kernelIn gives the kernel of a root tree.
func kernelIn(tree string) (Kernel, error) {
	images, err := filepath.Glob(filepath.Join(tree, "boot/vmlinuz-*"))
	if err != nil {
		return Kernel{}, err
	}
	if len(images) != 1 {
		return Kernel{}, fmt.Errorf("%s has %d kernels instead of one", tree, len(images))
	}
	return Kernel{strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-"), tree}, nil
}

// kernelTrees find the root trees that kernels are taken from, by architecture.
var kernelTrees = map[string]func(ctx context.Context, top string) ([]string, error){
	"amd64": debianTrees,
	"arm64": arm64Trees,
}

// debianTrees are those of the demonstration, which are cached as well: the first two
// releases, with two kernels of one series.
func debianTrees(ctx context.Context, top string) ([]string, error) {
	output, err := command.Run(ctx, nil, filepath.Join(top, "demo/trees"), "demo", filepath.Join(top, "build/cache"))
	if err != nil {
		return nil, err
	}
	trees := strings.TrimSpace(output)
	return []string{filepath.Join(trees, "1.0"), filepath.Join(trees, "1.1")}, nil
}

// The modules that the small system needs, by who loads them.
var (
	// efi_pstore first: what panics later leaves its last words in the firmware's variables.
	initramfsModules = []string{"efi_pstore", "virtio_pci", "virtio_blk", "crc32c_intel", "crc32c_generic", "btrfs"}
	watchdogModules  = []string{"softdog"}
	rootModules      = []string{"virtio_console", "vfat", "nls_cp437", "nls_ascii", "efivarfs"}
)

// copyModules copies the named modules, and what these need, into a root tree.
func (k Kernel) copyModules(ctx context.Context, path string, names ...string) error {
	files, err := k.modules(names...)
	if err != nil {
		return err
	}
	directory := filepath.Join("usr/lib/modules", k.Release)
	for _, file := range append(files, "modules.builtin", "modules.order", "modules.builtin.modinfo") {
		if err := copyFile(filepath.Join(path, directory, file), filepath.Join(k.directory(), file), 0o644); err != nil {
			return err
		}
	}
	_, err = command.Run(ctx, nil, "depmod", "--basedir", filepath.Join(path, "usr"), k.Release)
	return err
}

// modules gives the files of the named modules and of what these need, relative to
// usr/lib/modules/RELEASE, each behind what it needs. What is built into the kernel has
// none.
func (k Kernel) modules(names ...string) ([]string, error) {
	needs, err := k.dependencies()
	if err != nil {
		return nil, err
	}
	files := map[string]string{} // by name
	for file := range needs {
		files[moduleName(file)] = file
	}
	var ordered []string
	var add func(file string)
	add = func(file string) {
		if slices.Contains(ordered, file) {
			return
		}
		for _, needed := range needs[file] {
			add(needed)
		}
		ordered = append(ordered, file)
	}
	for _, name := range names {
		if file, ok := files[name]; ok {
			add(file)
		}
	}
	if len(ordered) == 0 {
		return nil, errors.New("kernel " + k.Release + " has none of the modules " + strings.Join(names, ", "))
	}
	return ordered, nil
}

// dependencies reads modules.dep (modules.dep(5)): what each file needs.
func (k Kernel) dependencies() (map[string][]string, error) {
	f, err := os.Open(filepath.Join(k.directory(), "modules.dep"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	needs := map[string][]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		file, needed, _ := strings.Cut(lines.Text(), ":")
		needs[file] = strings.Fields(needed)
	}
	return needs, nil
}

func (k Kernel) directory() string {
	return filepath.Join(k.Tree, "usr/lib/modules", k.Release)
}

func (k Kernel) image() string { return filepath.Join(k.Tree, "boot/vmlinuz-"+k.Release) }

// moduleName gives the name that the kernel has for a module's file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}
