//go:build full

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/conformance"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// The suite with systemd-boot itself, which takes some thirty starts of a machine.
func TestConformanceOfSdbootItself(t *testing.T) {
	conformance.Boot(t, func(t *testing.T) conformance.BootTarget {
		m := newFirmwareMachine(t)
		return conformance.BootTarget{
			New:       func(testing.TB) sdk.Boot { return newPlugin("test") },
			Settings:  platform{loader: loaderSdboot}.settings(m.dir),
			Directory: m.dir,
			Start:     m.start,
		}
	})
}

func TestXbootldrDecidesOnOlderFilesystems(t *testing.T) {
	for _, filesystem := range []loopback.Filesystem{loopback.Ext2, loopback.Ext3} {
		t.Run(string(filesystem), func(t *testing.T) { xbootldrDecides(t, filesystem) })
	}
}

// The suite with kernels that it reads through a driver.
func TestConformanceOfXbootldrItself(t *testing.T) {
	conformance.Boot(t, func(t *testing.T) conformance.BootTarget {
		m := newXbootldrMachine(t, loopback.Ext4)
		return conformance.BootTarget{
			New:       func(testing.TB) sdk.Boot { return newPlugin("test") },
			Settings:  platform{loader: loaderXbootldr}.settings(m.dir),
			Directory: m.dir,
			Furnish:   talkingKernels,
			Start:     m.start,
		}
	})
}

// talkingKernels has the kernels of a root tree tell their arguments. What stands behind
// the program in its file is not looked at.
func talkingKernels(t testing.TB, root string) {
	t.Helper()
	kernels, err := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	mustDo(t, err)
	for _, path := range kernels {
		info, err := os.Stat(path)
		mustDo(t, err)
		if info.Size() < 4096 {
			continue // too short to be started
		}
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		mustDo(t, err)
		_, err = file.WriteAt(talkerImage(t), 0)
		mustDo(t, err)
		mustDo(t, file.Close())
	}
}

// start is for the conformance suite.
func (m *firmwareMachine) start(testing.TB) (id string, trial bool) {
	m.t.Helper()
	image := m.powerCut()
	said := m.boot(image)
	m.takeBack(image)
	return chosen(said)
}

// start is for the conformance suite.
func (m *xbootldrMachine) start(testing.TB) (id string, trial bool) {
	m.t.Helper()
	return chosen(m.boot(m.powerCut()))
}

// chosen reads what a kernel was given.
func chosen(said string) (id string, trial bool) {
	_, rest, ours := strings.Cut(said, `initrd=\tbupdate\`)
	if !ours {
		return "", false
	}
	id, _, _ = strings.Cut(rest, `\`)
	return id, strings.HasSuffix(said, " panic=10")
}
