package pluginhost

import (
	"context"
	"fmt"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// checkedFS believes no answer that cannot be true. Methods without an answer are
// those of the embedded client.
type checkedFS struct {
	sdk.FS
	process *Process
}

// checked gives the answer if the call succeeded and the check finds nothing.
func checked[T any](p *Process, method string, answer T, err error, check func(T) error) (T, error) {
	var none T
	if err != nil {
		return none, err
	}
	if err := check(answer); err != nil {
		return none, p.nonsense(method, err)
	}
	return answer, nil
}

func (f checkedFS) Describe(ctx context.Context) (sdk.Description, error) {
	return f.process.Describe(ctx)
}

func (f checkedFS) Configure(ctx context.Context, setup sdk.Setup) error {
	return f.process.Configure(ctx, setup)
}

func (f checkedFS) Check(ctx context.Context) ([]sdk.Finding, error) { return f.process.Check(ctx) }

func (f checkedFS) Close() error { return f.process.Stop(context.Background()) }

func (f checkedFS) Volume(ctx context.Context) (sdk.Volume, error) {
	v, err := f.FS.Volume(ctx)
	return checked(f.process, "Volume", v, err, checkVolume)
}

func (f checkedFS) List(ctx context.Context) ([]sdk.Subvolume, error) {
	list, err := f.FS.List(ctx)
	return checked(f.process, "List", list, err, checkList)
}

func (f checkedFS) Lookup(ctx context.Context, name string) (sdk.Subvolume, error) {
	s, err := f.FS.Lookup(ctx, name)
	return checked(f.process, "Lookup", s, err, checkReachable)
}

func (f checkedFS) Get(ctx context.Context, id sdk.Identity) (sdk.Subvolume, error) {
	s, err := f.FS.Get(ctx, id)
	return checked(f.process, "Get", s, err, func(s sdk.Subvolume) error {
		if s.Identity != id {
			return fmt.Errorf("subvolume %s instead of %s", s.Identity, id)
		}
		return checkReachable(s)
	})
}

func (f checkedFS) Snapshot(ctx context.Context, from sdk.Identity, to string, readOnly bool) (sdk.Subvolume, error) {
	s, err := f.FS.Snapshot(ctx, from, to, readOnly)
	return checked(f.process, "Snapshot", s, err, func(s sdk.Subvolume) error {
		switch {
		case s.Identity == from:
			return fmt.Errorf("subvolume %s itself instead of a snapshot of it", from)
		case s.Name != to:
			return fmt.Errorf("a snapshot with the name %q instead of %q", s.Name, to)
		case s.ReadOnly != readOnly:
			return fmt.Errorf("a snapshot whose read-only flag is %t instead of %t", s.ReadOnly, readOnly)
		}
		return checkReachable(s)
	})
}

func (f checkedFS) Default(ctx context.Context) (sdk.Subvolume, error) {
	s, err := f.FS.Default(ctx)
	return checked(f.process, "Default", s, err, checkSubvolume)
}

func (f checkedFS) Booted(ctx context.Context, commandLine string) (sdk.Subvolume, error) {
	s, err := f.FS.Booted(ctx, commandLine)
	return checked(f.process, "Booted", s, err, checkSubvolume)
}

func (f checkedFS) KernelArguments(ctx context.Context, id sdk.Identity) ([]string, error) {
	arguments, err := f.FS.KernelArguments(ctx, id)
	return checked(f.process, "KernelArguments", arguments, err, checkArguments)
}

func (f checkedFS) MountLine(ctx context.Context, id sdk.Identity, directory string) (string, error) {
	line, err := f.FS.MountLine(ctx, id, directory)
	return checked(f.process, "MountLine", line, err, checkMountLine)
}

func (f checkedFS) StateDirectory(ctx context.Context) (string, error) {
	path, err := f.FS.StateDirectory(ctx)
	return checked(f.process, "StateDirectory", path, err, checkPath)
}

func (f checkedFS) Changes(ctx context.Context, a, b sdk.Identity, emit func(sdk.Change) error) error {
	return f.FS.Changes(ctx, a, b, func(c sdk.Change) error {
		if err := checkChange(c); err != nil {
			return f.process.nonsense("Changes", err)
		}
		return emit(c)
	})
}

// checkedBoot is checkedFS for the boot contract.
type checkedBoot struct {
	sdk.Boot
	process *Process
}

func (b checkedBoot) Describe(ctx context.Context) (sdk.Description, error) {
	return b.process.Describe(ctx)
}

func (b checkedBoot) Configure(ctx context.Context, setup sdk.Setup) error {
	return b.process.Configure(ctx, setup)
}

func (b checkedBoot) Check(ctx context.Context) ([]sdk.Finding, error) { return b.process.Check(ctx) }

func (b checkedBoot) Close() error { return b.process.Stop(context.Background()) }

func (b checkedBoot) Inspect(ctx context.Context, root string) (sdk.KernelSet, error) {
	k, err := b.Boot.Inspect(ctx, root)
	return checked(b.process, "Inspect", k, err, func(k sdk.KernelSet) error { return checkKernelSet(k, false) })
}

func (b checkedBoot) Room(ctx context.Context) (sdk.Room, error) {
	r, err := b.Boot.Room(ctx)
	return checked(b.process, "Room", r, err, checkRoom)
}

func (b checkedBoot) Install(ctx context.Context, entry sdk.Entry) (sdk.KernelSet, error) {
	k, err := b.Boot.Install(ctx, entry)
	return checked(b.process, "Install", k, err, func(k sdk.KernelSet) error { return checkKernelSet(k, true) })
}

func (b checkedBoot) State(ctx context.Context) (sdk.BootState, error) {
	s, err := b.Boot.State(ctx)
	return checked(b.process, "State", s, err, checkBootState)
}
