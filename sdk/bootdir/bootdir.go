// Package bootdir is a boot loader plugin but for the loader: it implements sdk.Boot
// for every boot loader that reads its kernels and its choice from files of one
// filesystem. What differs from loader to loader is behind the interface Loader.
//
// # What it does
//
// Everything lies in the directory tbupdate of the boot filesystem. Each entry has a
// directory of its own there, named by its id, with the kernel set, the files that
// the loader wants besides (Loader.Scripts, Maker), and record.json. These are
// written once and never changed. The record is written last, so a directory without
// one is what an interrupted Install left. Only when all of it is settled, that is,
// where a loader finds it without replaying a journal, is Loader.Publish called.
//
// The package answers for the contract's general part: what is already there, room,
// idempotence, verification, refusal to touch the default or an armed trial, mending
// of what was damaged, codes of errors. It never asks which loader it has.
//
// # Writing a plugin with it
//
// A vendor's program is a Program, handed to New, and the result to package serve:
//
//	func main() {
//		serve.Boot(bootdir.New(bootdir.Program{
//			Name: "myboot", Version: "1.0", Summary: "MyBoot with /boot on ext4",
//			Keys: bootdir.Keys(), MaxTries: 1,
//			Open: func(ctx context.Context, setup sdk.Setup) (bootdir.Volume, bootdir.Loader, error) {
//				volume, err := bootdir.OpenExt(setup)
//				if err != nil {
//					return nil, nil, err
//				}
//				return volume, &myLoader{volume}, nil
//			},
//		}))
//	}
//
// Then write the Loader. What to think about, in this order:
//
//  1. What is the one write that switches, and is it one sector of an existing file?
//     Overwrite does that. Where the loader can only be told by another file, Replace
//     does it on a filesystem that can.
//  2. How does a trial end by itself? The loader, not Linux, has to note that it was
//     begun, before it begins it; and it must not begin one that it cannot note.
//  3. What does the loader boot when a file is torn, missing or empty? It has to be
//     the last default. Read must answer as the loader would, file by file.
//  4. Where a loader calls a file by name, an entry that comes and goes must not
//     change what other entries are.
//
// Optional interfaces (Namer, Maker, KernelChecker, io.Closer) add to a Loader what only some need.
// Package conformance has the suite that the plugin has to pass.
package bootdir

import (
	"context"
	"io"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// Directory is where everything lies on the boot filesystem.
const Directory = "tbupdate"

// Program says what a plugin program is.
type Program struct {
	Name    string // as in tbupdate-boot-NAME
	Version string
	Summary string // one line for people

	// Keys are all settings that Open understands: those of Keys, and others.
	Keys []sdk.Key

	// MaxTries is the greatest that any of the loaders has, for Describe before
	// Configure.
	MaxTries int

	// Errors says what the errors of the loaders' own packages mean. Those of the
	// packages below sdk are known.
	Errors map[error]sdk.Code

	// Open opens the boot filesystem and finds the loader on it. The plugin closes
	// the volume, and the loader where that is an io.Closer.
	Open func(ctx context.Context, setup sdk.Setup) (Volume, Loader, error)
}

// Plugin implements sdk.Boot.
type Plugin struct {
	program  Program
	settings settings
	volume   Volume
	loader   Loader
	run      string // directory for passing files
}

var _ sdk.Boot = (*Plugin)(nil)

// New makes the plugin of a program.
func New(program Program) *Plugin { return &Plugin{program: program} }

// Describe implements sdk.Plugin.
func (p *Plugin) Describe(context.Context) (sdk.Description, error) {
	tries := p.program.MaxTries
	if p.loader != nil {
		tries = p.loader.MaxTries()
	}
	return sdk.Description{
		Name:         p.program.Name,
		Kind:         sdk.KindBoot,
		Version:      p.program.Version,
		Summary:      p.program.Summary,
		Keys:         p.program.Keys,
		Capabilities: capabilities(tries),
	}, nil
}

func capabilities(tries int) []sdk.Capability {
	var can []sdk.Capability
	if tries >= 1 {
		can = append(can, sdk.CapabilityOneShot)
	}
	if tries > 1 {
		can = append(can, sdk.CapabilityCounted)
	}
	return can
}

// Configure implements sdk.Plugin.
func (p *Plugin) Configure(ctx context.Context, setup sdk.Setup) error {
	p.settings, p.run = readSettings(setup), setup.RunDirectory
	var err error
	p.volume, p.loader, err = p.program.Open(ctx, setup)
	if err != nil {
		return p.fail("open", "the boot filesystem", err)
	}
	return nil
}

// Close implements sdk.Plugin.
func (p *Plugin) Close() error {
	volume, loader := p.volume, p.loader
	p.volume, p.loader = nil, nil
	if closer, ok := loader.(io.Closer); ok {
		if err := closer.Close(); err != nil {
			return p.fail("close", loader.Name(), err)
		}
	}
	if volume == nil {
		return nil
	}
	if err := volume.Close(); err != nil {
		return p.fail("close the boot filesystem", volume.Path(), err)
	}
	return nil
}

// ready refuses a call before Configure.
func (p *Plugin) ready(operation, object string) error {
	if p.loader == nil {
		return sdk.Errorf(sdk.CodeInvalid, operation, object, "the plugin is not configured")
	}
	return nil
}

// writable refuses a change to a filesystem that is mounted read-only.
func (p *Plugin) writable(operation, object string) error {
	readOnly, err := p.volume.ReadOnly()
	if err != nil {
		return p.fail(operation, object, err)
	}
	if readOnly {
		return sdk.Errorf(sdk.CodeReadOnly, operation, object, "%s is mounted read-only; nothing was changed", p.volume.Path())
	}
	return nil
}
