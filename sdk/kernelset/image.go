package kernelset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"strings"
)

// versionOf gives the release of the kernel at a path: what its image says, where
// that can be read, since only that is what "uname -r" will say; or else what its
// name says ("vmlinuz-6.1.0", "modules/6.1.0/vmlinuz").
func versionOf(root *Root, name string) (string, error) {
	file, err := root.Open(name)
	if err != nil {
		return "", fmt.Errorf("cannot read kernel %s: %w", name, err)
	}
	defer file.Close()
	if version := imageVersion(file); version != "" {
		return version, nil
	}
	base := path.Base(name)
	if _, version, ok := strings.Cut(base, "-"); ok {
		return version, nil
	}
	if strings.Contains(name, "/modules/") {
		return path.Base(path.Dir(name)), nil
	}
	return "", nil
}

// imageVersion reads the release from the header of an x86 bzImage, "" for any
// other file. The offsets are those of the kernel's
// Documentation/arch/x86/boot.rst: the magic "HdrS" at 0x202, and at 0x20e the
// place of the version text, less 0x200.
func imageVersion(file io.ReaderAt) string {
	header := make([]byte, 0x210)
	if _, err := file.ReadAt(header, 0); err != nil || !bytes.Equal(header[0x202:0x206], []byte("HdrS")) {
		return ""
	}
	offset := int64(binary.LittleEndian.Uint16(header[0x20e:])) + 0x200
	text := make([]byte, 128)
	n, _ := file.ReadAt(text, offset)
	text, _, ok := bytes.Cut(text[:n], []byte{0})
	if !ok {
		return ""
	}
	version, _, _ := strings.Cut(string(text), " ")
	if strings.ContainsFunc(version, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
		return ""
	}
	return version
}
