package main

import (
	"context"
	"os"
	"slices"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
	"github.com/trebuchet-update/tbupdate/sdk/extfs"
	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

// ubootLoader is U-Boot with the chooser at the beginning of its boot script.
// docs/decisions/0008-uboot.md says why it is made this way.
type ubootLoader struct {
	volume   *extfs.Volume
	settings settings
	trials   trials
	// place is the part of a chooser.Default that says where the trials are; nothing
	// in it where that is not known.
	place chooser.Default
}

var (
	_ bootdir.Loader = (*ubootLoader)(nil)
	_ bootdir.Namer  = (*ubootLoader)(nil)
	_ bootdir.Maker  = (*ubootLoader)(nil)
)

// Name implements bootdir.Loader.
func (u *ubootLoader) Name() string { return "u-boot" }

// MaxTries implements bootdir.Loader.
func (u *ubootLoader) MaxTries() int {
	if _, none := u.trials.(noTrials); none {
		return 0
	}
	return chooser.MaxTries
}

// FileName implements bootdir.Namer. flash-kernel's script asks for these names.
func (u *ubootLoader) FileName(version string, file kernelset.File) string {
	switch file.Role {
	case sdk.RoleKernel:
		return "vmlinuz-" + version
	case sdk.RoleInitrd:
		return "initrd.img-" + version
	case sdk.RoleDeviceTree:
		if u.settings.method == methodFlashKernel {
			return "" // it picks the machine's by itself
		}
	}
	return file.Name
}

// Scripts implements bootdir.Loader.
func (u *ubootLoader) Scripts(r bootdir.Record) (map[string]string, error) {
	line, err := cmdline.Join(r.Arguments)
	if err != nil {
		return nil, err
	}
	trial, err := cmdline.Join(append(slices.Clone(r.Arguments), r.TrialArguments...))
	if err != nil {
		return nil, err
	}
	scripts := map[string]string{}
	for name, line := range map[string]string{chooser.EntryWords: line, chooser.TrialWords: trial} {
		data, err := chooser.Words{Version: r.Version, CommandLine: line}.Bytes(u.settings.layout)
		if err != nil {
			return nil, err
		}
		scripts[name] = string(data)
	}
	if u.settings.method == methodExtlinux {
		script, err := plainScript(r)
		if err != nil {
			return nil, err
		}
		scripts[bootScript] = string(script)
	}
	return scripts, nil
}

// own gives the path of a file in the directory tbupdate.
func (u *ubootLoader) own(name string) string { return u.volume.Path(bootdir.Directory, name) }

func (u *ubootLoader) defaults() copies {
	return copies{
		paths:  [2]string{u.own(chooser.DefaultA), u.own(chooser.DefaultB)},
		create: u.volume.Replace,
		whole: func(data []byte) bool {
			_, err := chooser.ParseDefault(data, u.settings.layout)
			return err == nil
		},
	}
}

// readDefault gives what U-Boot takes for the default, and all ids that are named as
// one.
func (u *ubootLoader) readDefault() (now chooser.Default, named []string, err error) {
	found, err := u.defaults().read()
	if err != nil {
		return chooser.Default{}, nil, err
	}
	first := true
	for _, data := range found {
		if data == nil {
			continue
		}
		d, err := chooser.ParseDefault(data, u.settings.layout)
		if err != nil {
			return chooser.Default{}, nil, err
		}
		if first {
			now, first = d, false
		}
		if d.ID != "" {
			named = append(named, d.ID)
		}
	}
	return now, named, nil
}

// writeDefault writes a default with the place of the trials as it is known.
func (u *ubootLoader) writeDefault(d chooser.Default) error {
	data, err := u.placed(d).Bytes(u.settings.layout)
	if err != nil {
		return err
	}
	return u.defaults().write(data)
}

// placed gives a default with the place of the trials, where that is known.
func (u *ubootLoader) placed(d chooser.Default) chooser.Default {
	place := u.place
	if place == (chooser.Default{}) {
		place = d
	}
	place.ID, place.Previous = d.ID, d.Previous
	return place
}

// Read implements bootdir.Loader: it does what the chooser does with what is on the
// disk.
func (u *ubootLoader) Read(ctx context.Context) (bootdir.Choice, error) {
	script, problem, err := u.readScript()
	if err != nil {
		return bootdir.Choice{}, err
	}
	now := bootdir.Choice{Foreign: foreignOf(script), Problem: problem}
	if now.Listed, err = u.listed(); err != nil {
		return bootdir.Choice{}, err
	}
	d, named, err := u.readDefault()
	if err != nil {
		return bootdir.Choice{}, err
	}
	trial, tried, err := u.trials.read(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return bootdir.Choice{}, err
		}
		now.Problem = err.Error() // whether a trial is armed cannot be told
	}
	now.Held = append(named, tried...)
	if now.Problem != "" {
		return now, nil
	}
	for _, id := range []string{d.Previous, d.ID} {
		if slices.Contains(now.Listed, id) {
			now.Default = id
		}
	}
	if now.Default != "" {
		now.Held = append(now.Held, now.Default) // it may be the one before
		if now.Damage, err = u.defaults().damage(); err != nil {
			return bootdir.Choice{}, err
		}
	}
	if trial.Left() > 0 && slices.Contains(now.Listed, trial.ID) && d == u.placed(d) {
		now.Trial, now.TriesLeft = trial.ID, trial.Left()
	}
	return now, nil
}

// listed gives the entries that the chooser could boot: those with words.
func (u *ubootLoader) listed() ([]string, error) {
	ids, err := bootdir.InstalledIDs(u.volume)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(ids, func(id string) bool {
		_, err := os.Stat(u.volume.Path(bootdir.EntryPath(id, chooser.EntryWords)))
		return err != nil
	}), nil
}

// Publish implements bootdir.Loader: an entry is offered as soon as the chooser is
// there. The files that the chooser reads are settled before it; as long as they name
// no default, it goes on to what was there before.
func (u *ubootLoader) Publish(context.Context, bootdir.Record) error {
	now, _, err := u.readDefault()
	if err != nil {
		return err
	}
	if err := u.writeDefault(now); err != nil {
		return err
	}
	return u.writeScript()
}

// Withdraw implements bootdir.Loader. A trial that is used up is forgotten.
func (u *ubootLoader) Withdraw(ctx context.Context, id string) error {
	trial, _, err := u.trials.read(ctx)
	if err != nil || trial.ID != id {
		return err
	}
	return u.trials.write(ctx, chooser.Trial{})
}

// Arm implements bootdir.Loader. The switch is one write of package copies, or that of
// fw_setenv.
func (u *ubootLoader) Arm(ctx context.Context, id string, tries int) error {
	now, _, err := u.readDefault()
	if err != nil {
		return err
	}
	if err := u.writeDefault(now); err != nil { // where the trials are
		return err
	}
	return u.trials.write(ctx, chooser.Trial{ID: id, Limit: tries})
}

// Disarm implements bootdir.Loader.
func (u *ubootLoader) Disarm(ctx context.Context) error {
	trial, named, err := u.trials.read(ctx)
	if err != nil || trial.ID == "" && len(named) == 0 {
		return err
	}
	return u.trials.write(ctx, chooser.Trial{})
}

// SetDefault implements bootdir.Loader. A trial of the same entry that has starts left
// is taken back first: in between, the former default boots. One that has none left, as
// after the start that is being confirmed, is only tidied up, after the switch.
func (u *ubootLoader) SetDefault(ctx context.Context, id string) error {
	trial, _, err := u.trials.read(ctx)
	if err != nil {
		return err
	}
	if trial.ID == id && trial.Left() > 0 {
		if err := u.trials.write(ctx, chooser.Trial{}); err != nil {
			return err
		}
	}
	now, _, err := u.readDefault()
	if err != nil {
		return err
	}
	if now.ID != id {
		now.ID, now.Previous = id, now.ID
	}
	if err := u.writeDefault(now); err != nil {
		return err
	}
	_ = u.Withdraw(ctx, id) // the switch is made, and what is left names no start
	return nil
}

// Problem implements bootdir.Loader. What an entry needs besides its files does not
// depend on the entry.
func (u *ubootLoader) Problem(_ context.Context, r bootdir.Record) string {
	if name := bootdir.EntryPath(r.ID, bootScript); !exists(u.volume.Path(name)) {
		return "there is no " + name
	}
	return ""
}

// WorkingRoom implements bootdir.Loader: the old script and the new one, the states,
// and what was extlinux.conf.
func (u *ubootLoader) WorkingRoom() uint64 { return 2*mostScript + 16*4096 }
