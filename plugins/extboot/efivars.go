package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"
)

// efiVariables is where the kernel shows the firmware's variables.
const efiVariables = "/sys/firmware/efi/efivars"

// loaderGUID is the vendor of systemd-boot's variables (systemd.io, "Boot Loader
// Interface").
const loaderGUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// efiVariable gives a variable of systemd-boot, "" where there is none or it cannot be
// known.
func efiVariable(directory, name string) string {
	if directory == "" {
		return ""
	}
	data, err := os.ReadFile(filepath.Join(directory, name+"-"+loaderGUID))
	if err != nil || len(data) < 4 {
		return ""
	}
	return decodeUTF16(data[4:]) // after the attributes
}

func decodeUTF16(data []byte) string {
	units := make([]uint16, 0, len(data)/2)
	for ; len(data) >= 2; data = data[2:] {
		units = append(units, binary.LittleEndian.Uint16(data))
	}
	return strings.TrimRight(string(utf16.Decode(units)), "\x00")
}
