package release

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
)

// initramfs makes the initramfs of a release.
func (b *Builder) initramfs(r Release) ([]byte, error) {
	init, err := os.ReadFile(filepath.Join(b.Guest, "lab/initramfs"))
	if err != nil {
		return nil, err
	}
	archive := cpio{"init": {0o755, init}, "dev": {cpioDirectory | 0o755, nil}, "modules": {cpioDirectory | 0o755, nil}}
	names := initramfsModules
	if r.Defect == NoRoot {
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "virtio_blk" })
	}
	for list, names := range map[string][]string{"modules.list": names, "watchdog.list": r.watchdogModules()} {
		files, err := r.Kernel.modules(names...)
		if err != nil {
			return nil, err
		}
		var lines strings.Builder
		for _, file := range files {
			content, err := os.ReadFile(filepath.Join(r.Kernel.directory(), file))
			if err != nil {
				return nil, err
			}
			name := moduleName(file) + ".ko"
			archive["modules/"+name] = cpioFile{0o644, content}
			fmt.Fprintln(&lines, name)
		}
		archive[list] = cpioFile{0o644, []byte(lines.String())}
	}
	if r.Defect == Panic {
		for _, directory := range []string{"etc", "etc/lab"} {
			archive[directory] = cpioFile{cpioDirectory | 0o755, nil}
		}
		archive[strings.TrimPrefix(protocol.DefectFile, "/")] = cpioFile{0o644, []byte(protocol.DefectPanic)}
	}
	var packed bytes.Buffer
	compressor, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if err := archive.write(compressor); err != nil {
		return nil, err
	}
	if err := compressor.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// cpio is an archive in the format "newc", which the kernel unpacks as its initramfs
// (Documentation/driver-api/early-userspace/buffer-format.rst), by path without the leading slash.
type cpio map[string]cpioFile

type cpioFile struct {
	mode    uint32 // type and permissions as of stat(2); without a type a regular file
	content []byte
}

const (
	cpioDirectory = 0o040000
	cpioRegular   = 0o100000
	cpioType      = 0o170000
)

// write writes the archive, in an order in which directories come before what is in
// them.
func (c cpio) write(w io.Writer) error {
	for i, path := range sorted(c) {
		f := c[path]
		if f.mode&cpioType == 0 {
			f.mode |= cpioRegular
		}
		if err := writeMember(w, i+1, path, f); err != nil {
			return err
		}
	}
	return writeMember(w, 0, "TRAILER!!!", cpioFile{})
}

// cpioAlignment is what header and name together, and content, are padded to.
const cpioAlignment = 4

func writeMember(w io.Writer, inode int, path string, f cpioFile) error {
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, f.mode, 0, 0, 1, 0, len(f.content), 0, 0, 0, 0, len(path)+1, 0, path)
	for _, part := range [][]byte{[]byte(header), f.content} {
		if _, err := w.Write(part); err != nil {
			return err
		}
		if _, err := w.Write(make([]byte, -len(part)&(cpioAlignment-1))); err != nil {
			return err
		}
	}
	return nil
}
