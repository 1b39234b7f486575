package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/bootscript"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/flashtree"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/uboottest"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/conformance"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) { loopback.Main(m) }

// machine is a boot filesystem, a directory that stands for the FAT filesystem, which
// not every kernel that runs tests knows, and a U-Boot to start from copies of both.
type machine struct {
	t      testing.TB
	method string
	device *loopback.Device
	boot   string // directory
	state  string // directory
	uboot  *uboottest.Machine
	// counting is set for a U-Boot that counts by itself.
	counting uboottest.Counting
}

// deviceTree is what a tree has for the machine.
var deviceTree = append([]byte{0xd0, 0x0d, 0xfe, 0xed, 0, 0, 0, 12}, "blob"...)

func newMachine(t *testing.T, method string) *machine {
	t.Helper()
	m := &machine{t: t, method: method, state: t.TempDir()}
	m.device = loopback.New(t, loopback.Options{Filesystem: loopback.Ext4, Size: 64 << 20, MkfsArguments: []string{"-O", "^64bit,^metadata_csum,^orphan_file"}})
	m.boot = m.device.Mount(t)
	if method == methodFlashKernel {
		m.must(os.WriteFile(filepath.Join(m.boot, bootScript), scriptOf(t, "setenv bootargs root=LABEL=x\necho FOREIGN\nreset\n"), 0o644))
	} else {
		m.must(os.Mkdir(filepath.Join(m.boot, "extlinux"), 0o755))
		m.must(os.WriteFile(filepath.Join(m.boot, extlinuxPath), []byte("DEFAULT foreign\nLABEL foreign\n\tKERNEL /foreign\n\tAPPEND root=LABEL=x\n"), 0o644))
	}
	m.must(os.WriteFile(filepath.Join(m.boot, "foreign"), uboottest.Kernel("KERNEL foreign"), 0o644))
	run(t, "sync", "-f", m.boot)
	return m
}

func scriptOf(t *testing.T, text string) []byte {
	t.Helper()
	data, err := bootscript.Script{Processor: bootscript.ARM64, Text: text}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func run(t testing.TB, name string, arguments ...string) {
	t.Helper()
	if output, err := exec.Command(name, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, arguments, err, output)
	}
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) settings() map[string]string {
	return map[string]string{
		"mount": m.boot, keyState: m.state, keyStatePartition: strconv.Itoa(uboottest.StatePartition),
		keyMethod: m.method, keyMachine: flashtree.Machine,
	}
}

// start starts U-Boot from the disk as it is now, without what is in the page cache,
// and brings what U-Boot wrote back.
func (m *machine) start() uboottest.Boot {
	m.t.Helper()
	image := filepath.Join(m.t.TempDir(), "boot.img")
	run(m.t, "cp", "--sparse=always", m.device.Image, image)
	if m.uboot == nil {
		m.uboot = uboottest.New(m.t, image)
	} else {
		m.uboot.SetBoot(image)
	}
	m.uboot.Format()
	var names []string
	for _, name := range []string{chooser.TrialA, chooser.TrialB, "uboot.env", "uboot-redund.env"} {
		if data, err := os.ReadFile(filepath.Join(m.state, name)); err == nil {
			m.uboot.WriteState(name, data)
			names = append(names, name)
		}
	}
	boot := m.uboot.Start(m.counting.Arguments...)
	for _, name := range names {
		data := m.uboot.ReadState(name)
		path := filepath.Join(m.state, name)
		if old, err := os.ReadFile(path); err == nil && !bytes.Equal(old, data) {
			m.must(os.WriteFile(path, data, 0o600))
		}
	}
	return boot
}

// chosen is what the chooser says first.
var chosen = regexp.MustCompile(`(?m)^tbupdate: (trial|default) ([a-z0-9-]+)`)

func (m *machine) target() conformance.BootTarget {
	target := conformance.BootTarget{
		New:       func(testing.TB) sdk.Boot { return bootdir.New(program("test")) },
		Settings:  m.settings(),
		Directory: m.boot,
		Start: func(t testing.TB) (id string, trial bool) {
			t.Helper()
			// The suite's kernels are none: what matters is which one is chosen.
			found := chosen.FindStringSubmatch(m.start().Console)
			if found == nil {
				return "", false
			}
			return found[2], found[1] == "trial"
		},
	}
	if m.method == methodFlashKernel {
		base := m.t.TempDir()
		flashtree.New(m.t, base, deviceTree)
		target.Furnish = func(t testing.TB, root string) {
			t.Helper()
			run(t, "cp", "-al", base+"/.", root)
		}
	}
	return target
}

func TestConformance(t *testing.T) {
	for _, method := range []string{methodFlashKernel, methodExtlinux} {
		t.Run(method, func(t *testing.T) {
			conformance.Boot(t, func(t *testing.T) conformance.BootTarget { return newMachine(t, method).target() })
		})
	}
}

// The same through the process boundary, without asking U-Boot again.
func TestConformanceOfProgram(t *testing.T) {
	started := conformance.Build(t, ".")
	for _, method := range []string{methodFlashKernel, methodExtlinux} {
		t.Run(method, func(t *testing.T) {
			conformance.Boot(t, func(t *testing.T) conformance.BootTarget {
				target := newMachine(t, method).target()
				target.New = func(t testing.TB) sdk.Boot { return conformance.StartBoot(t, started) }
				target.Start = nil
				return target
			})
		})
	}
}
