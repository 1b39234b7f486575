package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/conformance"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestMain(m *testing.M) { loopback.Main(m) }

// platform is a filesystem and a loader on it.
type platform struct {
	filesystem loopback.Filesystem
	loader     string
}

func platforms() []platform {
	var all []platform
	for _, filesystem := range []loopback.Filesystem{loopback.Ext2, loopback.Ext3, loopback.Ext4} {
		for _, loader := range []string{loaderGRUB, loaderExtlinux, loaderXbootldr} {
			all = append(all, platform{filesystem, loader})
		}
	}
	// Not every kernel that runs the tests has FAT. The order of writes is the same on
	// a filesystem that stands in for it.
	return append(all, platform{loopback.Ext4, loaderSdboot})
}

func (p platform) String() string { return p.loader + " on " + string(p.filesystem) }

// newDevice makes a filesystem as boot loaders can read it, with the loader on it.
func (p platform) newDevice(t *testing.T) (*loopback.Device, string) {
	t.Helper()
	if p.loader == loaderXbootldr {
		return newXbootldrDisk(t, p.filesystem)
	}
	options := loopback.Options{Filesystem: p.filesystem, Size: 64 << 20}
	if p.filesystem == loopback.Ext4 {
		options.MkfsArguments = []string{"-O", "^64bit,^metadata_csum_seed,^orphan_file"}
	}
	device := loopback.New(t, options)
	dir := device.Mount(t)
	p.installLoader(t, dir)
	return device, dir
}

func (p platform) installLoader(t *testing.T, dir string) {
	t.Helper()
	if p.loader == loaderSdboot {
		if err := os.MkdirAll(filepath.Join(dir, sdbootEntries), 0o755); err != nil {
			t.Fatal(err)
		}
		writeText(t, filepath.Join(dir, sdbootConfig), "timeout 0\n#console-mode keep\n")
		writeText(t, filepath.Join(dir, "vmlinuz-6.1"), "foreign")
		writeText(t, filepath.Join(dir, sdbootEntries, "debian-6.1.conf"), foreignSdboot)
		return
	}
	if err := os.Mkdir(filepath.Join(dir, p.loader), 0o755); err != nil {
		t.Fatal(err)
	}
	if p.loader == loaderGRUB {
		writeText(t, filepath.Join(dir, "grub/grub.cfg"), debianConfig)
		return
	}
	if output, err := exec.Command("extlinux", "--install", filepath.Join(dir, "extlinux")).CombinedOutput(); err != nil {
		t.Fatalf("this test needs extlinux (apt-get install extlinux): %v\n%s", err, output)
	}
	writeText(t, filepath.Join(dir, "extlinux/extlinux.conf"), foreignExtlinux)
}

// What a machine has before its first update, shortened.
const (
	debianConfig = `set default="0"
set timeout=0
menuentry 'Debian GNU/Linux' --id foreign {
	linux /vmlinuz-6.1 root=UUID=2 ro rootflags=subvol=snapshots/root quiet
	initrd /initrd.img-6.1
}
if [ -f ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
elif [ -z "${config_directory}" -a -f $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
`
	foreignSdboot   = "title Debian\nsort-key debian\nversion 6.1\nlinux /vmlinuz-6.1\noptions root=UUID=2 ro\n"
	foreignExtlinux = "default good\nprompt 0\ntimeout 1\nlabel good\n  linux /vmlinuz\n  append root=UUID=2 ro\n"
)

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// settings are those for a filesystem that the test has mounted.
func (p platform) settings(dir string) map[string]string {
	switch p.loader {
	case loaderSdboot:
		return map[string]string{"esp": dir}
	case loaderXbootldr:
		return map[string]string{"mount": dir, "esp": espBeside(dir)}
	}
	return map[string]string{"mount": dir}
}

// newTarget makes a boot filesystem for the suite, and where the loader can be run on
// this machine the way to start it.
func (p platform) newTarget(t *testing.T) (target conformance.BootTarget, device string) {
	t.Helper()
	if p.loader == loaderGRUB {
		m := newGRUBDisk(t, p.filesystem)
		return conformance.BootTarget{Settings: map[string]string{"mount": m.dir}, Directory: m.dir, Start: m.start}, m.device.Path
	}
	d, dir := p.newDevice(t)
	return conformance.BootTarget{Settings: p.settings(dir), Directory: dir}, d.Path
}

func TestConformance(t *testing.T) {
	for _, p := range platforms() {
		t.Run(p.String(), func(t *testing.T) {
			conformance.Boot(t, func(t *testing.T) conformance.BootTarget {
				target, _ := p.newTarget(t)
				target.New = func(testing.TB) sdk.Boot { return newPlugin("test") }
				return target
			})
		})
	}
}

// The same through the process boundary, with a filesystem that the plugin mounts
// by itself.
func TestConformanceOfProgram(t *testing.T) {
	program := conformance.Build(t, ".")
	for _, p := range platforms() {
		if p.loader == loaderXbootldr {
			continue // its trials are the matter of firmware that a process of this machine has not
		}
		t.Run(p.String(), func(t *testing.T) {
			conformance.Boot(t, func(t *testing.T) conformance.BootTarget {
				target, device := p.newTarget(t)
				if p.loader != loaderSdboot {
					target.Settings = map[string]string{"device": device}
				}
				target.New = func(t testing.TB) sdk.Boot { return conformance.StartBoot(t, program) }
				return target
			})
		})
	}
}
