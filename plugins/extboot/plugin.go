package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/extfs"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/extlinux"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/kernelset"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
)

// plugin implements sdk.Boot.
//
// Everything of its own lies in the directory tbupdate of the boot filesystem: a
// directory for each entry, written once and never changed, and for GRUB what
// package grubcfg describes. How the two loaders choose among the entries is behind
// the interface loader.
type plugin struct {
	version  string
	settings settings
	volume   *extfs.Volume
	loader   loader
}

// loader is what differs between GRUB and extlinux. Its methods find everything on
// the disk; nothing is remembered between two calls.
type loader interface {
	name() string

	// scripts gives the files that an entry needs in its directory, by name.
	scripts(r record) (map[string]string, error)

	// read says what the loader would do.
	read() (choice, error)

	// publish makes the loader offer an entry whose files are settled on the disk.
	publish(r record) error
	// withdraw makes the loader forget an entry that is neither default nor trial.
	withdraw(id string) error
	arm(id string) error
	disarm() error
	setDefault(id string) error

	// problem says why the loader could not boot a listed entry whose files are
	// there.
	problem(r record) string

	check() ([]sdk.Finding, error)

	// workingRoom is how many bytes publish may need for files of the loader's own,
	// old and new ones side by side.
	workingRoom() uint64
}

// choice is what a loader would do at the next start.
type choice struct {
	defaultID string
	foreign   string // in the loader's words, when defaultID is ""
	trial     string
	listed    []string // ids that the loader offers
	// held are the ids that its files name as default or trial, also where it does
	// not come to boot them at present: nothing of these may be touched.
	held    []string
	problem string // why the loader does not look at our entries at all
}

var _ sdk.Boot = (*plugin)(nil)

func newPlugin(version string) *plugin { return &plugin{version: version} }

// Describe implements sdk.Plugin.
func (p *plugin) Describe(context.Context) (sdk.Description, error) {
	return sdk.Description{
		Name:         "extboot",
		Kind:         sdk.KindBoot,
		Version:      p.version,
		Summary:      "GRUB or extlinux with /boot on ext2, ext3 or ext4",
		Keys:         keys(),
		Capabilities: []sdk.Capability{sdk.CapabilityOneShot},
	}, nil
}

// Configure implements sdk.Plugin.
func (p *plugin) Configure(_ context.Context, setup sdk.Setup) error {
	s, err := readSettings(setup)
	if err != nil {
		return err
	}
	p.settings = s
	where := s.mount
	if where == "" {
		where = s.device
	}
	if p.volume, err = openVolume(s, setup.RunDirectory); err != nil {
		return fail("open the boot filesystem", where, err)
	}
	if p.loader, err = findLoader(p.volume, s); err != nil {
		return err
	}
	return nil
}

func openVolume(s settings, runDirectory string) (*extfs.Volume, error) {
	if s.mount != "" {
		return extfs.OpenMount(s.mount)
	}
	return extfs.OpenDevice(s.device, runDirectory)
}

// Close implements sdk.Plugin.
func (p *plugin) Close() error {
	if p.volume == nil {
		return nil
	}
	volume := p.volume
	p.volume, p.loader = nil, nil
	if err := volume.Close(); err != nil {
		return fail("close the boot filesystem", volume.Directory, err)
	}
	return nil
}

// ready refuses a call before Configure.
func (p *plugin) ready(operation, object string) error {
	if p.loader == nil {
		return sdk.Errorf(sdk.CodeInvalid, operation, object, "the plugin is not configured")
	}
	return nil
}

// writable refuses a change to a filesystem that is mounted read-only.
func (p *plugin) writable(operation, object string) error {
	readOnly, err := p.volume.ReadOnly()
	if err != nil {
		return fail(operation, object, err)
	}
	if readOnly {
		return sdk.Errorf(sdk.CodeReadOnly, operation, object, "%s is mounted read-only; nothing was changed", p.volume.Directory)
	}
	return nil
}

// fail makes an error of the contract out of any other.
func fail(operation, object string, err error) error {
	var known *sdk.Error
	if errors.As(err, &known) {
		return err
	}
	return sdk.Errorf(codeOf(err), operation, object, "%w", err)
}

func codeOf(err error) sdk.Code {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return sdk.CodeCancelled
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return sdk.CodeNoSpace
	case errors.Is(err, syscall.EROFS):
		return sdk.CodeReadOnly
	case errors.Is(err, extfs.ErrNotExt), errors.Is(err, extlinux.ErrForeign):
		return sdk.CodeUnsupported
	case errors.Is(err, extfs.ErrAmbiguous), errors.Is(err, extlinux.ErrValue), errors.Is(err, grubcfg.ErrArgument):
		return sdk.CodeInvalid
	case errors.Is(err, extfs.ErrMismatch), errors.Is(err, errDamaged), errors.Is(err, syscall.EIO):
		return sdk.CodeCorrupt
	case errors.Is(err, kernelset.ErrNoKernel):
		return sdk.CodeNoKernel
	case errors.Is(err, extfs.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return sdk.CodeNotFound
	}
	return sdk.CodeInternal
}

// maxID keeps three ids of the longest kind, and a few more, within one sector.
const maxID = 64

// checkID makes sure that an id can be part of a path, a label and a script as it
// stands.
func checkID(operation, id string) error {
	valid := id != "" && len(id) <= maxID && id[0] != '-'
	for _, c := range id {
		valid = valid && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !valid {
		return sdk.Errorf(sdk.CodeInvalid, operation, fmt.Sprintf("%q", id),
			"an id has 1 to %d lower-case letters, digits and '-', and does not begin with '-'", maxID)
	}
	return nil
}

// checkEntry refuses what no loader could be told.
func checkEntry(entry sdk.Entry) error {
	const operation = "install"
	if err := checkID(operation, entry.ID); err != nil {
		return err
	}
	if strings.ContainsFunc(entry.Title, isControl) {
		return sdk.Errorf(sdk.CodeInvalid, operation, entry.ID, "the title %q has control characters", entry.Title)
	}
	for _, arguments := range [][]string{entry.Arguments, entry.TrialArguments} {
		if _, err := cmdline.Join(arguments); err != nil {
			return sdk.Errorf(sdk.CodeInvalid, operation, entry.ID, "%w", err)
		}
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
