package bootdir

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

// Inspect implements sdk.Boot.
func (p *Plugin) Inspect(_ context.Context, root string) (sdk.KernelSet, error) {
	const operation = "find the kernel of"
	if err := p.ready(operation, root); err != nil {
		return sdk.KernelSet{}, err
	}
	tree, err := kernelset.OpenRoot(root)
	if err != nil {
		return sdk.KernelSet{}, p.fail(operation, root, err)
	}
	defer tree.Close()
	found, err := p.findKernelSet(tree)
	if err != nil {
		return sdk.KernelSet{}, p.fail(operation, root, err)
	}
	need, err := p.need(found)
	if err != nil {
		return sdk.KernelSet{}, p.fail(operation, root, err)
	}
	set := sdk.KernelSet{Version: found.Version, Bytes: need.bytes}
	for _, file := range found.Files {
		set.Files = append(set.Files, sdk.KernelFile{Role: file.Role, Source: file.Source, Size: file.Size})
	}
	return set, nil
}

// findKernelSet finds the kernel set with the one device tree that the settings
// ask for, or all.
func (p *Plugin) findKernelSet(tree *kernelset.Root) (kernelset.Set, error) {
	set, err := kernelset.Find(tree, p.settings.kernels)
	if err != nil {
		return kernelset.Set{}, err
	}
	if err := p.pickDeviceTree(&set); err != nil {
		return kernelset.Set{}, err
	}
	if err := p.checkKernel(tree, set); err != nil {
		return kernelset.Set{}, err
	}
	if namer, ok := p.loader.(Namer); ok {
		for i, file := range set.Files {
			set.Files[i].Name = namer.FileName(set.Version, file)
		}
		set.Files = slices.DeleteFunc(set.Files, func(f kernelset.File) bool { return f.Name == "" })
	}
	return set, nil
}

func (p *Plugin) checkKernel(tree *kernelset.Root, set kernelset.Set) error {
	checker, ok := p.loader.(KernelChecker)
	if !ok {
		return nil
	}
	kernel := set.Files[0]
	image, err := tree.Open(kernel.Source)
	if err != nil {
		return err
	}
	defer image.Close()
	if err := checker.CheckKernel(image, kernel.Size); err != nil {
		return fmt.Errorf("%s cannot boot %s: %w", p.loader.Name(), kernel.Source, err)
	}
	return nil
}

func (p *Plugin) pickDeviceTree(set *kernelset.Set) error {
	if p.settings.deviceTree == "" {
		return nil
	}
	wanted := path.Join("dtb", p.settings.deviceTree)
	set.Files = slices.DeleteFunc(set.Files, func(f kernelset.File) bool {
		return f.Role == sdk.RoleDeviceTree && f.Name != wanted
	})
	if !slices.ContainsFunc(set.Files, func(f kernelset.File) bool { return f.Name == wanted }) {
		return sdk.Errorf(sdk.CodeNoKernel, "find", "device tree "+p.settings.deviceTree, "kernel %s has none of that name", set.Version)
	}
	return nil
}

// need is what installing a kernel set takes.
type need struct {
	bytes  uint64
	inodes uint64
}

// Blocks that an entry takes besides its kernel set: directory, record, at most
// three scripts of at most 4 KiB each, and one more for each file, since that is
// what a short list of extents or a first indirect block takes.
const (
	scriptFiles = 4
	scriptBytes = 4096
)

// need computes the room for a kernel set, rounded to blocks, with directories and
// the blocks in which the filesystem notes where a file's blocks are.
func (p *Plugin) need(set kernelset.Set) (need, error) {
	space, err := p.volume.Space()
	if err != nil {
		return need{}, err
	}
	directories := map[string]bool{"": true, ".": true}
	var total need
	add := func(size uint64) {
		blocks := (size + space.BlockSize - 1) / space.BlockSize
		// ext2 and ext3 have a four-byte pointer for each block.
		total.bytes += (blocks + blocks/(space.BlockSize/4) + 2) * space.BlockSize
		total.inodes++
	}
	for _, file := range set.Files {
		add(file.Size)
		for dir := path.Dir(file.Name); dir != "."; dir = path.Dir(dir) {
			directories[dir] = true
		}
	}
	for range scriptFiles {
		add(scriptBytes)
	}
	made := 0
	if maker, ok := p.loader.(Maker); ok {
		files, bytes := maker.MadeRoom(set)
		for range files { // each may lie in a directory of its own
			add(bytes / uint64(files))
			add(1)
		}
		made = files
	}
	// The record has some 300 bytes for each file.
	add(uint64(len(set.Files)+scriptFiles+made) * 512)
	total.bytes += uint64(len(directories)) * space.BlockSize
	total.inodes += uint64(len(directories))
	total.bytes += p.loader.WorkingRoom()
	total.inodes += 8
	return total, nil
}

// Room implements sdk.Boot.
func (p *Plugin) Room(context.Context) (sdk.Room, error) {
	const operation, object = "measure the room of", "the boot filesystem"
	if err := p.ready(operation, object); err != nil {
		return sdk.Room{}, err
	}
	space, err := p.volume.Space()
	if err != nil {
		return sdk.Room{}, p.fail(operation, object, err)
	}
	return sdk.Room{Total: space.TotalBytes, Free: space.FreeBytes}, nil
}
