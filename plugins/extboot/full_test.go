//go:build full

package main

import (
	"strings"
	"testing"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/conformance"
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

// start is for the conformance suite.
func (m *firmwareMachine) start(testing.TB) (id string, trial bool) {
	m.t.Helper()
	image := m.powerCut()
	said := m.boot(image)
	m.takeBack(image)
	_, rest, ours := strings.Cut(said, `initrd=\tbupdate\`)
	if !ours {
		return "", false
	}
	id, _, _ = strings.Cut(rest, `\`)
	return id, strings.HasSuffix(said, " panic=10")
}
