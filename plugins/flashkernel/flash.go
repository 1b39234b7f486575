package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/bootscript"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/jail"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

// errResult says that what flash-kernel made is not what was asked for, whatever its
// exit code was.
var errResult = errors.New("flash-kernel did not make what was asked for")

// Room for what flash-kernel makes: the script, and three copies of the device tree,
// by its names.
const (
	madeFiles = 6
	madeBytes = 1 << 20
)

// flashPaths are what decides what flash-kernel makes, besides the kernel set.
var flashPaths = []string{
	jail.Program, "usr/share/flash-kernel", "etc/flash-kernel", "etc/default/flash-kernel",
}

// MadeFrom implements bootdir.Maker.
func (u *ubootLoader) MadeFrom(ctx context.Context, order bootdir.Order) (string, error) {
	if u.settings.method != methodFlashKernel {
		return "", nil
	}
	machine, err := u.machine(order.Tree)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%q %d\n", machine, chooser.Contract)
	for _, name := range flashPaths {
		if err := addTo(ctx, hash, order.Tree, name, 0); err != nil {
			return "", err
		}
	}
	return "flash-kernel " + hex.EncodeToString(hash.Sum(nil)[:16]), nil
}

// addTo adds a file or directory of a tree to a digest, nothing when it is not there.
func addTo(ctx context.Context, digest io.Writer, tree *kernelset.Root, name string, depth int) error {
	const mostDepth = 8
	if err := ctx.Err(); err != nil {
		return err
	}
	file, err := tree.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return err
	case info.Mode().IsRegular():
		fmt.Fprintf(digest, "%q %d\n", name, info.Size())
		_, err := io.Copy(digest, file)
		return err
	case !info.IsDir() || depth == mostDepth:
		return nil
	}
	names, err := file.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("cannot list %s: %w", name, err)
	}
	slices.Sort(names)
	for _, entry := range names {
		if err := addTo(ctx, digest, tree, path.Join(name, entry), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// machine finds the machine's name in the order in which flash-kernel does, but for
// the setting: the tree says it, or the device tree of this machine.
func (u *ubootLoader) machine(tree *kernelset.Root) (string, error) {
	const operation, object = "find", "the machine's name for flash-kernel"
	name := u.settings.machine
	if name == "" {
		name = readLine(func() (*os.File, error) { return tree.Open("etc/flash-kernel/machine") })
	}
	if name == "" && u.settings.live {
		name = readLine(func() (*os.File, error) { return os.Open("/proc/device-tree/model") })
	}
	switch name {
	case "":
		return "", sdk.Errorf(sdk.CodeInvalid, operation, object, "neither the root tree nor a device tree of this machine says it; set %s", keyMachine)
	case "none":
		return "", sdk.Errorf(sdk.CodeUnsupported, operation, object, "it is \"none\", which tells flash-kernel to do nothing; set %s", keyMachine)
	}
	return name, nil
}

// readLine gives the text of a file with one line or, as device trees have it, with
// a NUL at its end; "" when it cannot be read.
func readLine(open func() (*os.File, error)) string {
	file, err := open()
	if err != nil {
		return ""
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, 4096))
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(data), "\x00\n")
}

// MadeRoom implements bootdir.Maker.
func (u *ubootLoader) MadeRoom(kernelset.Set) (files int, bytes uint64) {
	if u.settings.method != methodFlashKernel {
		return 0, 0
	}
	return madeFiles, madeBytes
}

// Make implements bootdir.Maker: it lets the tree's own flash-kernel make the script
// and pick the device tree.
func (u *ubootLoader) Make(ctx context.Context, order bootdir.Order) ([]bootdir.MadeFile, error) {
	if u.settings.method != methodFlashKernel {
		return nil, nil
	}
	machine, err := u.machine(order.Tree)
	if err != nil {
		return nil, err
	}
	job := jail.Job{
		Root: order.Root, Version: order.Set.Version, Machine: machine,
		Kernel: source(order.Set, sdk.RoleKernel), Initrd: source(order.Set, sdk.RoleInitrd),
		Snippets: map[string]string{chooser.SnippetName: chooser.Snippet()}, Scratch: order.Scratch,
	}
	output, err := job.Run(ctx)
	if err != nil {
		return nil, err
	}
	results := filepath.Join(order.Scratch, jail.Results)
	if err := checkResults(results, order.Set.Version); err != nil {
		return nil, explain(err, machine, output)
	}
	return madeOf(results, order.Set.Version)
}

func source(set kernelset.Set, role sdk.FileRole) string {
	for _, file := range set.Files {
		if file.Role == role {
			return file.Source
		}
	}
	return ""
}

// checkResults looks at what flash-kernel made, since its exit code says little.
func checkResults(results, version string) error {
	data, err := os.ReadFile(filepath.Join(results, bootScript))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no %s, by which U-Boot could be told what to boot", errResult, bootScript)
	}
	if err != nil {
		return err
	}
	if len(data) > mostScript {
		return fmt.Errorf("%w: its %s has %d bytes", errResult, bootScript, len(data))
	}
	script, err := bootscript.Parse(data)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errResult, bootScript, err)
	}
	if err := checkScript(script.Text, version); err != nil {
		return err
	}
	return checkDeviceTree(filepath.Join(results, "dtb-"+version))
}

// checkScript makes sure that the script boots this kernel, and that it does so as
// the chooser tells it.
func checkScript(text, version string) error {
	switch {
	case !strings.Contains(text, chooser.Snippet()):
		return fmt.Errorf("%w: the machine's boot script has no place for ubootenv.d", errResult)
	case !chooser.IsIn(text):
		return fmt.Errorf("%w: the tree has another chooser in ubootenv.d besides %s; remove it", errResult, chooser.SnippetName)
	}
	_, after, _ := strings.Cut(text, chooser.Snippet())
	for _, variable := range []string{"${fk_kvers}", "${fk_image_locations}"} {
		if !strings.Contains(after, variable) {
			return fmt.Errorf("%w: the machine's boot script does not look at %s, so it cannot be told which generation to boot; one like bootscr.uboot-generic can", errResult, variable)
		}
	}
	found := kernelVersion.FindStringSubmatch(after)
	if found == nil || found[1] != version {
		return fmt.Errorf("%w: %s boots %q and not %q", errResult, bootScript, found, version)
	}
	return nil
}

// checkDeviceTree looks at the header of a flattened device tree.
func checkDeviceTree(path string) error {
	const magic = 0xd00dfeed
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no %s, which the boot script loads; the machine needs a DTB-Id in flash-kernel's database", errResult, filepath.Base(path))
	}
	if err != nil {
		return err
	}
	if len(data) < 8 || binary.BigEndian.Uint32(data) != magic || uint64(binary.BigEndian.Uint32(data[4:])) > uint64(len(data)) {
		return fmt.Errorf("%w: %s is no whole device tree", errResult, filepath.Base(path))
	}
	return nil
}

// explain adds the reason, where flash-kernel gave one and then claimed success.
func explain(err error, machine, output string) error {
	for line := range strings.Lines(output) {
		for _, sign := range []string{"does not match any of the expected flavors", "Ignoring old or unknown version", "skipping"} {
			if strings.Contains(line, sign) {
				return fmt.Errorf("%w for the machine %q; it says: %s", err, machine, strings.TrimSpace(line))
			}
		}
	}
	return fmt.Errorf("%w (machine %q)", err, machine)
}

// madeOf lists what belongs to the entry: the script, and the device tree under the
// names by which the script may ask for it.
func madeOf(results, version string) ([]bootdir.MadeFile, error) {
	made := []bootdir.MadeFile{
		{Source: jail.Program, Name: bootScript, Path: filepath.Join(results, bootScript)},
		{Role: sdk.RoleDeviceTree, Source: jail.Program, Name: "dtb-" + version, Path: filepath.Join(results, "dtb-"+version)},
	}
	err := filepath.WalkDir(filepath.Join(results, "dtbs", version), func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(results, file)
		made = append(made, bootdir.MadeFile{Role: sdk.RoleDeviceTree, Source: jail.Program, Name: name, Path: file})
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return made, nil
}
