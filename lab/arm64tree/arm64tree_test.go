package arm64tree_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trebuchet-update/tbupdate/lab/arm64tree"
	"github.com/trebuchet-update/tbupdate/lab/cache"
)

// store is the laboratory's.
var store = cache.Store{Directory: "../../build/cache/lab"}

func TestTreeIsWhole(t *testing.T) {
	t.Parallel()
	dir, err := arm64tree.Build(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{
		"base/usr/sbin/flash-kernel",
		"base/usr/share/flash-kernel/db/all.db",
		"base/usr/lib/ld-linux-aarch64.so.1",
		"base/etc/flash-kernel/dtbs/qemu-virt.dtb",
		"kernel-old/boot/vmlinuz-*-arm64",
		"kernel-old/usr/lib/modules/*/modules.dep",
		"kernel-old/usr/lib/modules/*/kernel/fs/btrfs/btrfs.ko",
		"kernel-new/boot/vmlinuz-*-arm64",
		"kernel-new/usr/lib/modules/*/kernel/drivers/watchdog/softdog.ko",
	} {
		if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) != 1 {
			t.Errorf("%s: %d files, want one", pattern, len(found))
		}
	}
	model, err := exec.CommandContext(t.Context(), "fdtget", filepath.Join(dir, "base/etc/flash-kernel/dtbs/qemu-virt.dtb"), "/", "model").CombinedOutput()
	if got := strings.TrimSpace(string(model)); err != nil || got != "linux,dummy-virt" {
		t.Errorf("the device tree says that it is %q (%v), want the machine in flash-kernel's database", got, err)
	}
}
