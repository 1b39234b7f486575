package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk/extfs"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// stub is the configuration on the EFI system partition, in the words of Debian's and
// Fedora's installers: it finds the boot filesystem and goes on there.
const stub = `search.fs_uuid %s root
set prefix=($root)'/%s'
configfile $prefix/grub.cfg
`

// On EFI machines GRUB starts from a FAT partition and finds /boot from there. What it
// reads and writes on /boot is the same, whatever its directory is called.
func TestGRUBThroughStubOnESP(t *testing.T) {
	for _, directory := range []string{"grub", "grub2"} {
		t.Run(directory, func(t *testing.T) {
			m := newGRUBDisk(t, loopback.Ext4)
			if directory != "grub" {
				m.must(os.Rename(filepath.Join(m.dir, "grub"), filepath.Join(m.dir, directory)))
			}
			m.plugin = openPlugin(t, m.dir)
			m.newESP(fmt.Sprintf(stub, m.plugin.volume.(*extfs.Volume).Superblock.UUID, directory))
			playBoots(m.t, m, nil, []bootStep{
				{"a default", func() {
					m.install("a1")
					m.must(m.plugin.SetDefault(t.Context(), "a1"))
				}, []string{bootsA}},
				{"b armed for two", func() {
					m.install("b2")
					m.must(m.plugin.Arm(t.Context(), "b2", 2))
				}, []string{triesB, triesB, bootsA, bootsA}},
			})
		})
	}
}

// newESP makes an EFI system partition with GRUB's modules and a configuration.
func (m *grubMachine) newESP(config string) {
	m.t.Helper()
	content := filepath.Join(m.t.TempDir(), "EFI")
	m.installModules(filepath.Join(content, "debian"))
	writeText(m.t, filepath.Join(content, "debian/grub.cfg"), config)
	m.esp = filepath.Join(m.t.TempDir(), "esp.img")
	m.must(loopback.CreateImage(m.esp, 16<<20))
	for _, command := range [][]string{{"mkfs.vfat", m.esp}, {"mcopy", "-s", "-i", m.esp, content, "::"}} {
		if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			m.t.Fatalf("this test needs dosfstools and mtools: %v\n%s", err, output)
		}
	}
}
