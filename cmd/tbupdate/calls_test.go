package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// This file is part of the plugin programs that buildFaultyPlugins makes, too: of this
// module it imports nothing but sdk.

// faultMode says how a call of a plugin goes wrong.
type faultMode string

// Each mode comes twice: before the call has done anything, and after it has done its
// work, so that only the answer is missing.
const (
	failsBefore faultMode = "fails-before" // the call gives an error
	failsAfter  faultMode = "fails-after"
	goneBefore  faultMode = "gone-before" // this call and every later one gives an error
	goneAfter   faultMode = "gone-after"

	// These happen to the process of a plugin.
	hangsBefore  faultMode = "hangs-before" // the process is stopped
	hangsAfter   faultMode = "hangs-after"
	killedBefore faultMode = "killed-before" // the process is killed
	killedAfter  faultMode = "killed-after"
)

// acts reports whether the call does its work before it goes wrong.
func (m faultMode) acts() bool {
	return slices.Contains([]faultMode{failsAfter, goneAfter, hangsAfter, killedAfter}, m)
}

var errInjected = sdk.Errorf(sdk.CodeInternal, "work on", "the disk", "injected fault")

// fault makes one call of a plugin go wrong, and notes which calls there were.
type fault struct {
	mode faultMode
	call string // "FS.Snapshot"; "" for none
	n    int    // which call of that name, from 1
	// process is how many processes of the plugin come before the one whose call it is.
	process int
	// strike, where it is set, does to the process what the mode says.
	strike func(faultMode)

	changes, reads []string // the names of the calls so far
	gone           bool     // no call works any more
	begins         []int    // how many reads there were when each process began
}

// change makes one call that may change something.
func (f *fault) change(name string, act func() error) error {
	f.changes = append(f.changes, name)
	return f.pass(name, count(f.changes, name), act)
}

// read makes one call that changes nothing.
func (f *fault) read(name string, act func() error) error {
	f.reads = append(f.reads, name)
	return f.pass(name, count(f.reads, name), act)
}

// pass makes the n-th call of this name.
func (f *fault) pass(name string, n int, act func() error) error {
	if f.gone {
		return errInjected
	}
	if name != f.call || n != f.n {
		return act()
	}
	f.gone = f.mode == goneBefore || f.mode == goneAfter
	if f.mode.acts() {
		if err := act(); err != nil {
			return err
		}
	}
	if f.strike == nil {
		return errInjected
	}
	f.strike(f.mode)
	// Whoever stopped the process may let it go on, and the call with it.
	if f.mode.acts() {
		return nil
	}
	return act()
}

func count(names []string, name string) (n int) {
	for _, each := range names {
		if each == name {
			n++
		}
	}
	return n
}

// faultFile is the file that holds the fault of a plugin program.
func faultFile(program string) string { return program + ".fault" }

// write leaves the fault for a plugin program.
func (f *fault) write(program string) error {
	return os.WriteFile(faultFile(program), fmt.Appendf(nil, "%s %s %d %d\n", f.mode, f.call, f.n, f.process), 0o600)
}

// faultyFS is an sdk.FS with a fault. It says of every method whether it changes
// something: one that the contract gets does not compile until it is listed here.
type faultyFS struct {
	fs sdk.FS
	*fault
}

var _ sdk.FS = faultyFS{}

func (f faultyFS) Describe(ctx context.Context) (got sdk.Description, err error) {
	err = f.read("Plugin.Describe", func() error { got, err = f.fs.Describe(ctx); return err })
	return got, err
}

func (f faultyFS) Configure(ctx context.Context, setup sdk.Setup) error {
	return f.change("Plugin.Configure", func() error { return f.fs.Configure(ctx, setup) })
}

func (f faultyFS) Check(ctx context.Context) (got []sdk.Finding, err error) {
	err = f.read("Plugin.Check", func() error { got, err = f.fs.Check(ctx); return err })
	return got, err
}

func (f faultyFS) Close() error {
	return f.change("Plugin.Close", func() error { return f.fs.Close() })
}

func (f faultyFS) Volume(ctx context.Context) (got sdk.Volume, err error) {
	err = f.read("FS.Volume", func() error { got, err = f.fs.Volume(ctx); return err })
	return got, err
}

func (f faultyFS) Prepare(ctx context.Context) error {
	return f.change("FS.Prepare", func() error { return f.fs.Prepare(ctx) })
}

func (f faultyFS) List(ctx context.Context) (got []sdk.Subvolume, err error) {
	err = f.read("FS.List", func() error { got, err = f.fs.List(ctx); return err })
	return got, err
}

func (f faultyFS) Lookup(ctx context.Context, name string) (got sdk.Subvolume, err error) {
	err = f.read("FS.Lookup", func() error { got, err = f.fs.Lookup(ctx, name); return err })
	return got, err
}

func (f faultyFS) Get(ctx context.Context, id sdk.Identity) (got sdk.Subvolume, err error) {
	err = f.read("FS.Get", func() error { got, err = f.fs.Get(ctx, id); return err })
	return got, err
}

func (f faultyFS) Snapshot(ctx context.Context, from sdk.Identity, to string, readOnly bool) (got sdk.Subvolume, err error) {
	err = f.change("FS.Snapshot", func() error { got, err = f.fs.Snapshot(ctx, from, to, readOnly); return err })
	return got, err
}

func (f faultyFS) Rename(ctx context.Context, id sdk.Identity, to string) error {
	return f.change("FS.Rename", func() error { return f.fs.Rename(ctx, id, to) })
}

func (f faultyFS) Exchange(ctx context.Context, name string, id sdk.Identity) error {
	return f.change("FS.Exchange", func() error { return f.fs.Exchange(ctx, name, id) })
}

func (f faultyFS) Delete(ctx context.Context, id sdk.Identity) error {
	return f.change("FS.Delete", func() error { return f.fs.Delete(ctx, id) })
}

func (f faultyFS) Seal(ctx context.Context, id sdk.Identity) error {
	return f.change("FS.Seal", func() error { return f.fs.Seal(ctx, id) })
}

func (f faultyFS) Flush(ctx context.Context) error {
	return f.change("FS.Flush", func() error { return f.fs.Flush(ctx) })
}

func (f faultyFS) Default(ctx context.Context) (got sdk.Subvolume, err error) {
	err = f.read("FS.Default", func() error { got, err = f.fs.Default(ctx); return err })
	return got, err
}

func (f faultyFS) SetDefault(ctx context.Context, id sdk.Identity) error {
	return f.change("FS.SetDefault", func() error { return f.fs.SetDefault(ctx, id) })
}

func (f faultyFS) KernelArguments(ctx context.Context, id sdk.Identity) (got []string, err error) {
	err = f.read("FS.KernelArguments", func() error { got, err = f.fs.KernelArguments(ctx, id); return err })
	return got, err
}

func (f faultyFS) Booted(ctx context.Context, commandLine string) (got sdk.Subvolume, err error) {
	err = f.read("FS.Booted", func() error { got, err = f.fs.Booted(ctx, commandLine); return err })
	return got, err
}

func (f faultyFS) MountLine(ctx context.Context, id sdk.Identity, directory string) (got string, err error) {
	err = f.read("FS.MountLine", func() error { got, err = f.fs.MountLine(ctx, id, directory); return err })
	return got, err
}

func (f faultyFS) StateDirectory(ctx context.Context) (got string, err error) {
	err = f.read("FS.StateDirectory", func() error { got, err = f.fs.StateDirectory(ctx); return err })
	return got, err
}

func (f faultyFS) Changes(ctx context.Context, a, b sdk.Identity, emit func(sdk.Change) error) error {
	return f.read("FS.Changes", func() error { return f.fs.Changes(ctx, a, b, emit) })
}

// faultyBoot is faultyFS for the boot contract.
type faultyBoot struct {
	boot sdk.Boot
	*fault
}

var _ sdk.Boot = faultyBoot{}

func (b faultyBoot) Describe(ctx context.Context) (got sdk.Description, err error) {
	err = b.read("Plugin.Describe", func() error { got, err = b.boot.Describe(ctx); return err })
	return got, err
}

func (b faultyBoot) Configure(ctx context.Context, setup sdk.Setup) error {
	return b.change("Plugin.Configure", func() error { return b.boot.Configure(ctx, setup) })
}

func (b faultyBoot) Check(ctx context.Context) (got []sdk.Finding, err error) {
	err = b.read("Plugin.Check", func() error { got, err = b.boot.Check(ctx); return err })
	return got, err
}

func (b faultyBoot) Close() error {
	return b.change("Plugin.Close", func() error { return b.boot.Close() })
}

func (b faultyBoot) Inspect(ctx context.Context, root string) (got sdk.KernelSet, err error) {
	err = b.read("Boot.Inspect", func() error { got, err = b.boot.Inspect(ctx, root); return err })
	return got, err
}

func (b faultyBoot) Room(ctx context.Context) (got sdk.Room, err error) {
	err = b.read("Boot.Room", func() error { got, err = b.boot.Room(ctx); return err })
	return got, err
}

func (b faultyBoot) Install(ctx context.Context, entry sdk.Entry) (got sdk.KernelSet, err error) {
	err = b.change("Boot.Install", func() error { got, err = b.boot.Install(ctx, entry); return err })
	return got, err
}

func (b faultyBoot) Remove(ctx context.Context, id string) error {
	return b.change("Boot.Remove", func() error { return b.boot.Remove(ctx, id) })
}

func (b faultyBoot) Arm(ctx context.Context, id string, tries int) error {
	return b.change("Boot.Arm", func() error { return b.boot.Arm(ctx, id, tries) })
}

func (b faultyBoot) Disarm(ctx context.Context) error {
	return b.change("Boot.Disarm", func() error { return b.boot.Disarm(ctx) })
}

func (b faultyBoot) SetDefault(ctx context.Context, id string) error {
	return b.change("Boot.SetDefault", func() error { return b.boot.SetDefault(ctx, id) })
}

func (b faultyBoot) State(ctx context.Context) (got sdk.BootState, err error) {
	err = b.read("Boot.State", func() error { got, err = b.boot.State(ctx); return err })
	return got, err
}

func (b faultyBoot) Verify(ctx context.Context, id string) error {
	return b.read("Boot.Verify", func() error { return b.boot.Verify(ctx, id) })
}
