package release

import (
	"context"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/lab/arm64tree"
	"github.com/trebuchet-update/tbupdate/lab/cache"
	"github.com/trebuchet-update/tbupdate/lab/command"
)

// arm64Trees gives two trees with kernels for arm64.
func arm64Trees(ctx context.Context, top string) ([]string, error) {
	tree, err := arm64tree.Build(ctx, cache.Store{Directory: filepath.Join(top, "build/cache/lab")})
	if err != nil {
		return nil, err
	}
	return []string{filepath.Join(tree, arm64tree.OldKernel), filepath.Join(tree, arm64tree.NewKernel)}, nil
}

// arm64Busybox gives the static busybox for arm64.
func arm64Busybox(_ context.Context, b *Builder) (string, error) {
	return filepath.Join(b.arm64Base(), "usr/bin/busybox"), nil
}

func (b *Builder) arm64Base() string {
	return filepath.Join(filepath.Dir(b.Kernels[0].Tree), arm64tree.Base)
}

// flashKernelPlugin is the program on the host that says what it needs of flash-kernel.
const flashKernelPlugin = "plugins/tbupdate-boot-flashkernel"

// addBase starts the tree of a release with the distribution's part of it. Only ARM
// machines have one, since flash-kernel needs much of a Debian around it.
func (b *Builder) addBase(ctx context.Context, path string) error {
	if b.Arch != "arm64" {
		return nil
	}
	if _, err := command.Run(ctx, nil, "cp", "-a", b.arm64Base(), path); err != nil {
		return err
	}
	// As docs/flashkernel.md has it: a flash-kernel that a person runs keeps the chooser.
	snippet, err := command.Run(ctx, nil, filepath.Join(b.Host, flashKernelPlugin), "snippet")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(path, "etc/flash-kernel/ubootenv.d/zz-tbupdate"), []byte(snippet), 0o644)
}
