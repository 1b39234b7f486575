package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk/durable"
)

// variables is a directory of the firmware's variables as the kernel shows them
// (Documentation/filesystems/efivarfs.rst), "" on a disk that did not boot this machine.
type variables string

// ownVariables are those of this machine's firmware.
const ownVariables variables = "/sys/firmware/efi/efivars"

// loaderGUID is the vendor of systemd-boot's variables (systemd.io, "Boot Loader
// Interface").
const loaderGUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// Variables of systemd-boot.
const (
	variableInfo    = "LoaderInfo"         // who started this system
	variableEntries = "LoaderEntries"      // what was listed at that start
	variableDefault = "LoaderEntryDefault" // what boots, before any file
	variableOneShot = "LoaderEntryOneShot" // what boots once; systemd-boot deletes it first
)

// attributes are the four bytes before a value: non-volatile, for boot and run time.
var attributes = []byte{7, 0, 0, 0}

func (v variables) path(name string) string {
	return filepath.Join(string(v), name+"-"+loaderGUID)
}

// list gives the strings of a variable, none where there is no such variable or it
// cannot be known.
func (v variables) list(name string) []string {
	if v == "" {
		return nil
	}
	data, err := os.ReadFile(v.path(name))
	if err != nil || len(data) < len(attributes) {
		return nil
	}
	text := strings.TrimRight(decodeUTF16(data[len(attributes):]), "\x00")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\x00")
}

// get gives the value of a variable that holds one string, "" for none.
func (v variables) get(name string) string { return strings.Join(v.list(name), "\x00") }

// unwritable says why no variable can be written, "" when one can, as far as can be told
// without trying.
func (v variables) unwritable() string {
	if v == "" {
		return "they are kept by the firmware of the machine that this disk belongs to"
	}
	if names, err := os.ReadDir(string(v)); err != nil || len(names) == 0 {
		return fmt.Sprintf("none is seen in %s", v)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(string(v), &stat); err != nil || stat.Flags&unix.ST_RDONLY != 0 {
		return fmt.Sprintf("%s is mounted read-only", v)
	}
	return ""
}

// set gives a variable another value, and reads it back: firmware that is out of room,
// or does not want to, does not always say so. In between there is no such variable.
func (v variables) set(name, value string) error {
	if err := v.remove(name); err != nil {
		return err
	}
	data := append(bytes.Clone(attributes), encodeUTF16(value+"\x00")...)
	err := v.create(name, data)
	if err == nil {
		var got []byte
		if got, err = os.ReadFile(v.path(name)); err == nil && !bytes.Equal(got, data) {
			err = durable.ErrMismatch
		}
	}
	if err != nil {
		// What is left of it must not be taken for a value.
		return fmt.Errorf("cannot write the EFI variable %s: %w", name, errors.Join(err, v.remove(name)))
	}
	return nil
}

// create writes a variable with one write, which is one call of the firmware.
func (v variables) create(name string, data []byte) error {
	file, err := os.OpenFile(v.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// immutable is FS_IMMUTABLE_FL of the kernel's include/uapi/linux/fs.h.
const immutable = 0x10

// remove deletes a variable. One that is not there is no error. The kernel makes the
// files of variables that it does not know immutable.
func (v variables) remove(name string) error {
	file, err := os.Open(v.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if flags, err := unix.IoctlGetUint32(int(file.Fd()), unix.FS_IOC_GETFLAGS); err == nil && flags&immutable != 0 {
		if err := unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, int(flags&^immutable)); err != nil {
			return fmt.Errorf("cannot make the EFI variable %s mutable: %w", name, err)
		}
	}
	if err := os.Remove(v.path(name)); err != nil {
		return fmt.Errorf("cannot remove the EFI variable %s: %w", name, err)
	}
	return nil
}

func encodeUTF16(text string) []byte {
	var data []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		data = binary.LittleEndian.AppendUint16(data, unit)
	}
	return data
}

func decodeUTF16(data []byte) string {
	units := make([]uint16, 0, len(data)/2)
	for ; len(data) >= 2; data = data[2:] {
		units = append(units, binary.LittleEndian.Uint16(data))
	}
	return string(utf16.Decode(units))
}
