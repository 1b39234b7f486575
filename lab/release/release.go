// Package release makes the releases of a small system, as a vendor would: root trees
// with a kernel, its modules and programs, good ones and such with a defect, and the
// signed bundles, or classic streams, that lead from one to another.
//
// The system is small because everything in it is read by an emulated processor:
// busybox, the updater with its plugins, the lab's agent as init, and a real
// distribution's kernel with the modules that it needs.
package release

import (
	"context"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/trebuchet-update/tbupdate/lab/cache"
	"github.com/trebuchet-update/tbupdate/lab/command"
)

// recipe is this package's source: what is in the cache was made by exactly it.
//
//go:embed *.go
var recipe embed.FS

// Builder makes releases for one architecture.
type Builder struct {
	Arch  string // as GOARCH has it
	Store cache.Store
	// Guest and Host are directories of built programs: bin/, plugins/, lab/.
	Guest, Host string
	// Kernels are the kernels that releases take turns with.
	Kernels []Kernel

	key cache.Key
	// vendor is the directory of the key that bundles are signed with, and trusted is its
	// public half.
	vendor  string
	trusted []byte
	// integration is the boot integration for machines without systemd.
	integration []byte
	units       map[string][]byte // for machines with it, by name
}

// New builds the programs of the module at top and finds what else releases are made
// of. It takes seconds; what it gives lasts as long as the module does not change.
func New(ctx context.Context, top, arch string) (*Builder, error) {
	store, err := storeOf(top)
	if err != nil {
		return nil, err
	}
	b := &Builder{Arch: arch, Store: store}
	if b.Guest, err = build(ctx, b.Store, top, arch, guestPrograms(arch), "GOARCH="+arch, "GOARM=7"); err != nil {
		return nil, err
	}
	if b.Host, err = HostPrograms(ctx, top); err != nil {
		return nil, err
	}
	if b.Kernels, err = kernels(ctx, top, arch); err != nil {
		return nil, err
	}
	integration, err := os.ReadFile(filepath.Join(top, "system/tbupdate-rc"))
	if err != nil {
		return nil, err
	}
	source, err := sourceKey(recipe)
	if err != nil {
		return nil, err
	}
	if b.units, err = readUnits(top); err != nil {
		return nil, err
	}
	if err := b.readVendor(ctx); err != nil {
		return nil, err
	}
	b.key = cache.KeyOf(arch, b.Guest, b.Host, b.Kernels, source, integration, b.units, b.trusted)
	b.integration = integration
	return b, nil
}

func storeOf(top string) (cache.Store, error) {
	store := cache.Store{Directory: filepath.Join(top, "build/cache/lab")}
	return store, os.MkdirAll(store.Directory, 0o755)
}

// HostPrograms builds the programs of the module at top for this host, and gives the directory that has
// them in bin/ and plugins/. It is kept as long as the module does not change.
func HostPrograms(ctx context.Context, top string) (string, error) {
	store, err := storeOf(top)
	if err != nil {
		return "", err
	}
	return build(ctx, store, top, "host", hostPrograms)
}

// vendorKey is the name of the key, in the vendor's directory and on machines.
const vendorKey = "vendor"

// readVendor finds the key of bundles. It is as old as the cache, and of no use elsewhere.
func (b *Builder) readVendor(ctx context.Context) (err error) {
	b.vendor, err = b.Store.Get("vendor", cache.KeyOf(vendorKey), func(path string) error {
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		_, err := command.Run(ctx, nil, filepath.Join(b.Host, "bin/tbdiff"), "keys", "generate", filepath.Join(path, vendorKey))
		return err
	})
	if err != nil {
		return err
	}
	b.trusted, err = os.ReadFile(filepath.Join(b.vendor, vendorKey+".pub"))
	return err
}

// sourceKey hashes embedded files.
func sourceKey(files embed.FS) (string, error) {
	var parts []any
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := files.ReadFile(path)
		parts = append(parts, path, content)
		return err
	})
	key := cache.KeyOf(parts...)
	return hex.EncodeToString(key[:]), err
}

// Product is what the system is, as its configuration has it (lab/image).
const Product = "lab"

// Release is one version of the system.
type Release struct {
	Version string // IMAGE_VERSION in its os-release
	Kernel  Kernel
	// Systemd is set for a distribution with systemd instead of the small system.
	Systemd bool
	// Model is the kind of machine that it is for.
	Model Model
	// Defect is what is wrong with it, "" for nothing.
	Defect Defect
}

// Model is a kind of machine, with what releases have for it.
type Model struct {
	Name  string
	Files map[string]string // contents by path
}

// Defect is a way in which a release does not work.
type Defect string

// The defects.
const (
	Panic     Defect = "panic"     // the kernel panics before it has a root
	NoInit    Defect = "no-init"   // the root has no /sbin/init
	NoRoot    Defect = "no-root"   // the initramfs lacks the driver of the disk
	Hang      Defect = "hang"      // init does nothing for ever
	Unhealthy Defect = "unhealthy" // a health check fails
	Truncated Defect = "truncated" // the kernel image ends too early
	Stuck     Defect = "stuck"     // it comes up, but never gets to be checked
	// Lockup: the kernel, the one for real machines, gets no interrupt any more.
	Lockup Defect = "lockup"
	// Its plugin holds before or after the confirmation's switch.
	HoldBefore Defect = "hold-before"
	HoldAfter  Defect = "hold-after"
)

var defects = []Defect{Panic, NoInit, NoRoot, Hang, Unhealthy, Truncated, Stuck, Lockup, HoldBefore, HoldAfter}

// Next gives the release that a vendor would deliver after another one, as its
// variant says: "good", "kernel-only" (the same, with another kernel), "root-only" (the same
// but for a file in the root), or the name of a defect.
func (b *Builder) Next(ctx context.Context, last Release, variant string) (Release, error) {
	number, _, _ := strings.Cut(last.Version, "-")
	n, err := strconv.Atoi(number)
	if err != nil {
		return Release{}, fmt.Errorf("nothing follows version %q", last.Version)
	}
	next := Release{Version: fmt.Sprint(n + 1), Kernel: b.kernel(n + 1), Systemd: last.Systemd, Model: last.Model}
	switch variant {
	case "good":
		return next, nil
	case "root-only":
		next.Kernel = b.kernel(n)
	case "kernel-only":
	default:
		next.Defect = Defect(variant)
		if !slices.Contains(defects, next.Defect) {
			return Release{}, fmt.Errorf("unknown variant %q", variant)
		}
	}
	next.Version += "-" + variant
	if next.Defect == Lockup {
		if next.Kernel, err = genericKernel(ctx, b.Store); err != nil {
			return Release{}, err
		}
	}
	return next, nil
}

// Number gives the release of version number n, without defect.
func (b *Builder) Number(n int) Release { return Release{Version: fmt.Sprint(n), Kernel: b.kernel(n)} }

// kernel gives each version a kernel other than its predecessor's.
func (b *Builder) kernel(n int) Kernel { return b.Kernels[(n-1)%len(b.Kernels)] }

// Tree gives the directory with a release's root tree.
func (b *Builder) Tree(ctx context.Context, r Release) (string, error) {
	made, err := b.Store.Get("release-"+r.Model.Name+"-"+r.Version, cache.KeyOf(b.key, r), func(path string) error {
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		return b.make(ctx, r, filepath.Join(path, treeName))
	})
	return filepath.Join(made, treeName), err
}

// treeName is the tree in what the cache keeps of a release, and dates by its use: the top's
// own time is the release's.
const treeName = "tree"

// Bundle gives the file with the signed bundle that leads from one release to another. It
// has nothing in it that the machine would have to pack again, which an emulated processor
// takes long for.
func (b *Builder) Bundle(ctx context.Context, from, to Release) (string, error) {
	return b.update(ctx, "bundle", from, to, func(origin, target string) []string {
		return []string{"bundle", "create", "--product", Product, "--version", to.Version, "--level", "fast", "--deltas-only",
			"--from", origin, "--to", target, "--key", filepath.Join(b.vendor, vendorKey+".key")}
	})
}

// Stream gives the file with the classic stream that does the same.
func (b *Builder) Stream(ctx context.Context, from, to Release) (string, error) {
	return b.update(ctx, "stream", from, to, func(origin, target string) []string {
		return []string{"create", "--format", "v0", origin, target}
	})
}

// update has tbdiff make a file, as arguments says.
func (b *Builder) update(ctx context.Context, kind string, from, to Release, arguments func(origin, target string) []string) (string, error) {
	origin, err := b.Tree(ctx, from)
	if err != nil {
		return "", err
	}
	target, err := b.Tree(ctx, to)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s-%s-%s-to-%s", kind, from.Model.Name, from.Version, to.Version)
	return b.Store.Get(name, cache.KeyOf(b.key, origin, target), func(path string) error {
		_, err := command.Run(ctx, nil, filepath.Join(b.Host, "bin/tbdiff"), append(arguments(origin, target), "-o", path)...)
		return err
	})
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
