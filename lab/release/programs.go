package release

import (
	"context"
	"maps"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/lab/cache"
	"github.com/trebuchet-update/tbupdate/lab/command"
)

// programs are what is built from this module for a guest: package by file name.
var programs = map[string]string{
	"bin/tbupdate":              "./cmd/tbupdate",
	"plugins/tbupdate-fs-btrfs": "./plugins/btrfs",
	"lab/agent":                 "./lab/guest/agent",
	"lab/initramfs":             "./lab/guest/initramfs",
	"lab/hold":                  "./lab/guest/hold",
}

// bootPlugins are built for a guest as well, by architecture.
var bootPlugins = map[string]string{"amd64": "extboot", "arm64": "flashkernel"}

// hostPrograms are built for the host: what a build host runs, and what works on a
// disk image.
var hostPrograms = map[string]string{
	"bin/tbdiff":                    "./cmd/tbdiff",
	"bin/tbupdate":                  "./cmd/tbupdate",
	"plugins/tbupdate-fs-btrfs":     "./plugins/btrfs",
	"plugins/tbupdate-boot-extboot": "./plugins/extboot",
	flashKernelPlugin:               "./plugins/flashkernel",
	"plugins/tbupdate-boot-live":    "./lab/crash/live",
}

// build builds programs from the module at top into the cache, static and without
// anything that changes from build to build, and gives their directory.
func build(ctx context.Context, store cache.Store, top, name string, programs map[string]string, environment ...string) (string, error) {
	work, err := os.MkdirTemp("", "lab-programs-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	parts := []any{name}
	for _, file := range sorted(programs) {
		path := filepath.Join(work, file)
		if err := compile(ctx, top, programs[file], path, environment); err != nil {
			return "", err
		}
		content, err := cache.File(path)
		if err != nil {
			return "", err
		}
		parts = append(parts, file, content)
	}
	return store.Get("programs-"+name, cache.KeyOf(parts...), func(path string) error {
		_, err := command.Run(ctx, nil, "cp", "-r", work, path)
		if err != nil {
			return err
		}
		// The updater refuses plugins that others could write to.
		_, err = command.Run(ctx, nil, "chmod", "-R", "u=rwX,go=rX", path)
		return err
	})
}

func compile(ctx context.Context, top, source, path string, environment []string) error {
	_, err := command.RunIn(ctx, top, append([]string{"CGO_ENABLED=0"}, environment...),
		"go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=lab", "-o", path, source)
	return err
}

// guestPrograms gives what is built for the guests of an architecture.
func guestPrograms(arch string) map[string]string {
	all := maps.Clone(programs)
	if plugin, ok := bootPlugins[arch]; ok {
		all["plugins/tbupdate-boot-"+plugin] = "./plugins/" + plugin
	}
	return all
}
