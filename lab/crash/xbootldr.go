package crash

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// xbootldr is systemd-boot with kernels and entries in /boot, which it reads through an EFI driver and cannot write
// to. What was said of sdboot holds for it as well, but for /boot, which is what it would be.
//
// The firmware's variables are files on a partition of the machine's disk, so that they are cut off at the same instant;
// each change of one is on the disk when it ends. Programs see them where the kernel shows its own.
type xbootldr struct{}

func (xbootldr) name() string { return "systemd-boot-xbootldr" }
func (xbootldr) counts() bool { return false }

// Names of variables' files (Linux: Documentation/filesystems/efivarfs.rst; systemd: BOOT_LOADER_INTERFACE).
const (
	variableVendor  = "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
	variableInfo    = "LoaderInfo" + variableVendor
	variableOneShot = "LoaderEntryOneShot" + variableVendor
)

// variableAttributes stand before the value of one: it is kept, and there for boot loaders and systems.
var variableAttributes = []byte{7, 0, 0, 0}

func (xbootldr) install(ctx context.Context, d *disk, top string, s *system) error {
	if err := putEntry(top, s); err != nil {
		return err
	}
	for _, device := range []string{d.state, d.variables} {
		if err := loopback.Format(ctx, device, loopback.Ext2); err != nil {
			return err
		}
	}
	err := loopback.Mounted(d.state, loopback.Ext4, func(top string) error {
		const drivers = "EFI/systemd/drivers"
		return putFiles(top, map[string]string{sdbootConfig: "timeout 0\n", drivers + "/ext4_x64.efi": "an EFI driver"})
	})
	if err != nil {
		return err
	}
	return loopback.Mounted(d.variables, loopback.Ext4, func(top string) error {
		return putFiles(top, map[string]string{variableInfo: string(variableAttributes) + encodeUTF16("systemd-boot 252\x00")})
	})
}

// putFiles writes files and their directories.
func putFiles(top string, files map[string]string) error {
	for name, content := range files {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (xbootldr) config(d *disk) string {
	return fmt.Sprintf("[boot]\nplugin = \"live\"\n[boot.config]\nloader = \"systemd-boot\"\ndevice = %q\nesp = %q\n", d.boot, d.mounts[d.state])
}

func (xbootldr) prepare(ctx context.Context, d *disk) error {
	if err := d.mount(ctx, d.state); err != nil {
		return err
	}
	return d.mount(ctx, d.variables, "sync")
}

// wrap has a program see the variables, in a namespace of its own.
func (xbootldr) wrap(d *disk) []string {
	const script = `mount -t tmpfs tmpfs /sys/firmware && mkdir -p /sys/firmware/efi/efivars && mount --bind "$0" /sys/firmware/efi/efivars && exec "$@"`
	return []string{"unshare", "--mount", "--propagation", "slave", "sh", "-c", script, d.mounts[d.variables]}
}

func (xbootldr) start(ctx context.Context, d *disk) (started, error) {
	if err := d.unmount(); err != nil {
		return started{}, err
	}
	once, err := takeVariable(ctx, d, variableOneShot)
	if err != nil {
		return started{}, err
	}
	menu, err := readMenu(ctx, d.boot, d.state)
	if err != nil {
		return started{}, err
	}
	entry, err := menu.choose(ctx, once)
	if err != nil {
		return started{}, err
	}
	return menu.boot(ctx, entry)
}

// takeVariable gives the value of a variable, "" for none, and deletes it.
func takeVariable(ctx context.Context, d *disk, name string) (string, error) {
	content, err := onDevice(ctx, d.variables, "/"+name)
	if err != nil || len(content) < len(variableAttributes) { // there is none
		return "", nil
	}
	err = loopback.Mounted(d.variables, loopback.Ext4, func(top string) error { return os.Remove(filepath.Join(top, name)) }, "sync")
	return strings.TrimRight(decodeUTF16(content[len(variableAttributes):]), "\x00"), err
}

func encodeUTF16(text string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return string(b)
}

func decodeUTF16(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		units = append(units, binary.LittleEndian.Uint16(b))
	}
	return string(utf16.Decode(units))
}
