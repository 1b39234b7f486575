// Package crash cuts the power of a machine at every instant of what the updater does, and sees what
// the machine is then: what its boot loader boots, whether that is whole, and whether it goes on from there.
//
// The updater's programs run on this host, on the disk of the machine, whose writes are recorded
// (lab/powercut). Who judges knows the rules and not the code: it asks boot loaders themselves, or what their
// documentation says, and compares what is booted with what was delivered.
package crash

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/lab/listing"
)

// system is a release: a small root tree, enough of one for the updater, with a kernel and its modules.
type system struct {
	version, kernel string
	tree            string            // its directory
	files           map[string]string // what a machine that boots it has to have
	image, initrd   [sha256.Size]byte // of its kernel
}

// product is what all systems are releases of.
const product = "crash"

// following is the version that each is updated to.
var following = map[string]string{first: second, kernelOnly: second, second: third, third: fourth}

// The sizes of what a system is made of, in bytes: each takes several writes, and a half of all that is
// more than one frame of a delta holds.
const (
	imageSize  = 300_000
	initrdSize = 10_000_000
	moduleSize = 100_000
)

// newSystem writes a system into a new directory. The same version and kernel always give the
// same bytes.
func newSystem(directory, version, kernel string) (*system, error) {
	s := &system{version: version, kernel: kernel, tree: directory}
	content := func(name string, size int) []byte {
		seed := sha256.Sum256([]byte(kernel + name))
		b := make([]byte, size)
		_, _ = rand.NewChaCha8(seed).Read(b) // never fails
		return b
	}
	image, initrd := newKernel(content("image", imageSize)), content("initrd", initrdSize)
	s.image, s.initrd = sha256.Sum256(image), sha256.Sum256(initrd)
	for path, b := range map[string][]byte{
		"boot/vmlinuz-" + kernel:                       image,
		"boot/initrd.img-" + kernel:                    initrd,
		"usr/lib/modules/" + kernel + "/kernel/a.ko":   content("module", moduleSize),
		"usr/lib/modules/" + kernel + "/modules.order": []byte("kernel/a.ko\n"),
		"etc/os-release":                               fmt.Appendf(nil, "ID=crash\nVERSION_ID=%q\n", version),
		"etc/fstab":                                    []byte("LABEL=root / btrfs rw 0 0\n"),
		"usr/bin/program":                              []byte("program of version " + version + "\n"),
		"usr/share/same":                               bytes.Repeat([]byte("the same in every version\n"), 10_000),
		"usr/share/only-" + version:                    []byte(version),
		"var/lib/database":                             []byte("state of the machine"),
	} {
		path = filepath.Join(directory, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return nil, err
		}
	}
	for _, empty := range []string{"dev", "proc", "run", "sys", "tmp", "home", "root", "srv"} {
		if err := os.Mkdir(filepath.Join(directory, empty), 0o755); err != nil {
			return nil, err
		}
	}
	var err error
	s.files, err = listing.Of(directory)
	return s, err
}
