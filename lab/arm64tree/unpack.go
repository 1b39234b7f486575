package arm64tree

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/trebuchet-update/tbupdate/lab/command"
)

// kernelPackage is the smallest kernel that Debian has for virtual machines: its
// image and modules come along as dependencies.
const kernelPackage = "linux-image-cloud-arm64"

// basePackages hold the programs of the base tree (see programs) or what
// flash-kernel reads.
func basePackages() []string {
	return []string{
		"btrfs-progs", "busybox-static", "coreutils", "dash", "dpkg", "findutils", "flash-kernel", "grep",
		"libubootenv-tool", "linux-base", "perl-base", "sed", "u-boot-tools",
	}
}

// unpacking is packages, with their dependencies, as files in a directory.
type unpacking struct {
	packages []string
	// released leaves the updates of the release out: without them the kernel is
	// an older one.
	released bool
}

// run unpacks into a directory that must not exist. Downloads are kept in debs.
//
// It has a mount namespace of its own: what is mounted in the tree is seen by
// nobody else and does not outlive it.
func (u unpacking) run(ctx context.Context, debs, tree string) error {
	const archives = `"$1/var/cache/apt/archives"`
	debs, err := filepath.Abs(debs)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(debs, 0o755); err != nil {
		return err
	}
	arguments := []string{
		"--mount", "--propagation", "private",
		"mmdebstrap", "--quiet", "--mode=root", "--variant=extract", "--format=directory",
		"--architectures=arm64", "--include=" + strings.Join(u.packages, ","),
		// Nothing configures the tree, so nobody else merges its /usr.
		`--setup-hook=for d in bin sbin lib; do mkdir -p "$1/usr/$d" && ln -s "usr/$d" "$1/$d"; done`,
		"--setup-hook=mkdir -p " + archives + " && cp -a '" + debs + "/.' " + archives,
		"--extract-hook=find " + archives + " -maxdepth 1 -name '*.deb' -exec cp -n -t '" + debs + "' {} +",
	}
	if u.released {
		arguments = append(arguments, `--setup-hook=sed -i -E "/-(updates|security) /d" "$1/etc/apt/sources.list"`)
	}
	_, err = command.Run(ctx, nil, "unshare", append(arguments, suite, tree)...)
	return err
}
