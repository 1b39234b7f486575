package release_test

import (
	"debug/elf"
	"os"
	"path/filepath"
	"testing"

	"github.com/trebuchet-update/tbupdate/lab/release"
)

func TestReleaseForARMHasFlashKernelAndNoForeignProgram(t *testing.T) {
	t.Parallel()
	builder, err := release.New(t.Context(), "../..", "arm64")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := builder.Tree(t.Context(), builder.Number(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"usr/sbin/flash-kernel", "usr/bin/mkimage", "etc/flash-kernel/dtbs/qemu-virt.dtb",
		"usr/sbin/init", "usr/bin/tbupdate", "usr/lib/tbupdate/plugins/tbupdate-fs-btrfs",
		"boot/vmlinuz-" + builder.Kernels[0].Release, "boot/initrd.img-" + builder.Kernels[0].Release,
	} {
		if _, err := os.Stat(filepath.Join(tree, path)); err != nil {
			t.Error(err)
		}
	}
	programs, err := filepath.Glob(filepath.Join(tree, "usr/bin/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range programs {
		file, err := elf.Open(path)
		if err != nil {
			continue // a script
		}
		if file.Machine != elf.EM_AARCH64 {
			t.Errorf("%s is for %v", path, file.Machine)
		}
		file.Close()
	}
}
