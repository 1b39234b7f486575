package crash

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/trebuchet-update/tbupdate/lab/command"
)

// extlinux is what extlinux does, written down from its documentation (syslinux: doc/extlinux.txt,
// libinstaller/setadv.c): no program does it on a host.
type extlinux struct{}

func (extlinux) name() string { return "extlinux" }
func (extlinux) counts() bool { return false }

const (
	extlinuxDirectory = "extlinux"
	extlinuxConfig    = `DEFAULT installed
PROMPT 0
TIMEOUT 0
LABEL installed
  LINUX /%s
  INITRD /%s
  APPEND root=LABEL=root rootflags=subvol=` + installed + ` ro quiet
`
)

func (extlinux) install(ctx context.Context, d *disk, top string, s *system) error {
	kernel, initrd, err := putKernel(top, s)
	if err != nil {
		return err
	}
	if err := putExtlinuxConfig(top, kernel, initrd); err != nil {
		return err
	}
	return run(ctx, "extlinux", "--install", "--device="+d.boot, filepath.Join(top, extlinuxDirectory))
}

// putExtlinuxConfig writes an extlinux.conf that boots the installed system.
func putExtlinuxConfig(top, kernel, initrd string) error {
	directory := filepath.Join(top, extlinuxDirectory)
	if err := os.Mkdir(directory, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(directory, "extlinux.conf"), fmt.Appendf(nil, extlinuxConfig, kernel, initrd), 0o644)
}

func (extlinux) config(d *disk) string {
	return fmt.Sprintf("[boot]\nplugin = \"extboot\"\n[boot.config]\ndevice = %q\n", d.boot)
}

func (x extlinux) start(ctx context.Context, d *disk) (started, error) {
	once, err := x.takeOnce(ctx, d)
	if err != nil {
		return started{}, err
	}
	text, err := onDevice(ctx, d.boot, "/"+extlinuxDirectory+"/extlinux.conf")
	if err != nil {
		return started{}, err
	}
	labels, first := extlinuxLabels(string(text))
	label, ok := labels[first]
	if once != "" {
		label, ok = labels[once]
	}
	if !ok {
		return started{}, fmt.Errorf("extlinux stops at its prompt: it has no label %q, default %q", once, first)
	}
	s := started{arguments: "BOOT_IMAGE=" + label["linux"] + " " + label["append"]}
	if s.image, err = digestOnDevice(ctx, d.boot, label["linux"]); err != nil {
		return s, err
	}
	s.initrd, err = digestOnDevice(ctx, d.boot, label["initrd"])
	return s, err
}

// extlinuxLabels gives the fields of each label, and which is the default.
func extlinuxLabels(text string) (labels map[string]map[string]string, first string) {
	labels = map[string]map[string]string{}
	var label map[string]string
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		key, value = strings.ToLower(key), strings.TrimSpace(value)
		switch {
		case key == "default":
			first = value
		case key == "label":
			label = map[string]string{}
			labels[value] = label
		case label != nil:
			label[key] = value
		}
	}
	return labels, first
}

// The auxiliary data vector: the last two sectors of ldlinux.sys, copies of one another.
const (
	vectorCopy = 512
	vectorHead = 0x5a2d2fa5
	vectorSum  = 0xa3041767 // of all words between the magic numbers
	vectorTail = 0xdd28bf64
	bootOnce   = 1 // the tag of a label
)

// takeOnce gives the label that is to be booted once, and takes it out of both copies.
func (extlinux) takeOnce(ctx context.Context, d *disk) (string, error) {
	path := "/" + extlinuxDirectory + "/ldlinux.sys"
	file, err := onDevice(ctx, d.boot, path)
	if err != nil {
		return "", err
	}
	if len(file) < 2*vectorCopy {
		return "", errors.New("extlinux is not whole")
	}
	at := len(file) - 2*vectorCopy
	vector := file[at : at+vectorCopy]
	if !isVector(vector) {
		if vector = file[at+vectorCopy:]; !isVector(vector) {
			return "", nil
		}
	}
	label, rest := "", make([]byte, 0, vectorCopy)
	for data := vector[8 : vectorCopy-4]; len(data) > 2 && data[0] != 0 && int(data[1])+2 <= len(data); data = data[2+int(data[1]):] {
		if data[0] == bootOnce {
			label = string(data[2 : 2+int(data[1])])
		} else {
			rest = append(rest, data[:2+int(data[1])]...)
		}
	}
	if label == "" {
		return "", nil
	}
	for i := range 2 {
		if err := writeBlock(ctx, d.boot, path, at+i*vectorCopy, newVector(rest)); err != nil {
			return "", err
		}
	}
	return label, nil
}

func isVector(b []byte) bool {
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	var sum uint32
	for i := 1; i < vectorCopy/4-1; i++ {
		sum += word(i)
	}
	return word(0) == vectorHead && sum == vectorSum && word(vectorCopy/4-1) == vectorTail
}

func newVector(records []byte) []byte {
	b := make([]byte, vectorCopy)
	copy(b[8:], records)
	sum := uint32(vectorSum)
	for i := 8; i < vectorCopy-4; i += 4 {
		sum -= binary.LittleEndian.Uint32(b[i:])
	}
	binary.LittleEndian.PutUint32(b, vectorHead)
	binary.LittleEndian.PutUint32(b[4:], sum)
	binary.LittleEndian.PutUint32(b[vectorCopy-4:], vectorTail)
	return b
}

// writeBlock writes into a file of an ext filesystem that is not mounted, within one of its blocks, as
// boot loaders do.
func writeBlock(ctx context.Context, device, path string, offset int, b []byte) error {
	size, err := blockSize(ctx, device)
	if err != nil {
		return err
	}
	text, err := command.Run(ctx, nil, "debugfs", "-R", fmt.Sprintf("bmap %q %d", path, offset/size), device)
	if err != nil {
		return err
	}
	block, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || block == 0 {
		return fmt.Errorf("cannot find byte %d of %q: %q", offset, path, text)
	}
	file, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(b, int64(block)*int64(size)+int64(offset%size))
	return errors.Join(err, file.Sync(), file.Close())
}

func blockSize(ctx context.Context, device string) (int, error) {
	text, err := command.Run(ctx, nil, "debugfs", "-R", "show_super_stats -h", device)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "Block size:"); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("cannot find the block size of %s", device)
}
