package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/extlinux"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
	"github.com/trebuchet-update/tbupdate/sdk/extfs"
	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

// vectorFile holds the auxiliary data vector, and is extlinux itself. Where it is
// missing, U-Boot reads the configuration, which knows no trial.
const vectorFile = "ldlinux.sys"

// extlinuxLoader is extlinux, or U-Boot with an extlinux.conf. The configuration is
// replaced as a whole when an entry comes or goes; which one is the default is the
// first line, overwritten in place; the trial is in the vector, overwritten in
// place. docs/decisions/0003-boot-writes.md has the reasons.
type extlinuxLoader struct {
	volume    *extfs.Volume
	directory string // of extlinux.conf, on the boot filesystem
}

func (x *extlinuxLoader) Name() string { return loaderExtlinux }

// MaxTries: only extlinux itself knows a trial.
func (x *extlinuxLoader) MaxTries() int {
	if exists(x.vectorPath()) {
		return 1
	}
	return 0
}

func (x *extlinuxLoader) configPath() string { return x.volume.Path(x.directory, extlinux.ConfigFile) }
func (x *extlinuxLoader) vectorPath() string { return x.volume.Path(x.directory, vectorFile) }

// Scripts gives none: an entry is its labels in the configuration. They are made here only to
// refuse what cannot be written before anything is.
func (x *extlinuxLoader) Scripts(r bootdir.Record) (map[string]string, error) {
	config, _, err := x.readConfig()
	if err != nil {
		return nil, err
	}
	entry, err := x.entry(r)
	if err != nil {
		return nil, err
	}
	return nil, config.Put(entry)
}

func (x *extlinuxLoader) entry(r bootdir.Record) (extlinux.Entry, error) {
	line, err := cmdline.Join(r.Arguments)
	if err != nil {
		return extlinux.Entry{}, err
	}
	trial, err := cmdline.Join(r.TrialArguments)
	if err != nil {
		return extlinux.Entry{}, err
	}
	entry := extlinux.Entry{
		ID: r.ID, Title: r.Title, Kernel: bootdir.EntryPath(r.ID, "vmlinuz"), Initrd: r.File(sdk.RoleInitrd),
		DeviceTree: r.OneDeviceTree(), CommandLine: line, TrialArguments: trial,
	}
	if entry.DeviceTree == "" && r.File(sdk.RoleDeviceTree) != "" {
		entry.DeviceTrees = bootdir.EntryPath(r.ID, "dtb")
	}
	return entry, nil
}

func (x *extlinuxLoader) readConfig() (config extlinux.Config, text string, err error) {
	if text, err = readText(x.configPath()); err != nil {
		return extlinux.Config{}, "", err
	}
	if text == "" {
		// Only with a time limit does extlinux boot the default by itself.
		return extlinux.Config{Foreign: "PROMPT 0\nTIMEOUT 20\n"}, "", nil
	}
	config, err = extlinux.Parse(text)
	return config, text, err
}

func (x *extlinuxLoader) readVector() (vector extlinux.Vector, offset int64, err error) {
	data, err := os.ReadFile(x.vectorPath())
	if err != nil {
		return extlinux.Vector{}, 0, err
	}
	if len(data) < extlinux.VectorSize {
		return extlinux.Vector{}, 0, fmt.Errorf("%w: %s has %d bytes", extlinux.ErrMalformed, vectorFile, len(data))
	}
	offset = int64(len(data) - extlinux.VectorSize)
	vector, err = extlinux.ParseVector(data[offset:])
	return vector, offset, err
}

// Read does what the loader does with what is on the disk.
func (x *extlinuxLoader) Read(context.Context) (bootdir.Choice, error) {
	config, text, err := x.readConfig()
	if errors.Is(err, extlinux.ErrForeign) {
		return bootdir.Choice{Foreign: err.Error(), Problem: err.Error()}, nil
	}
	if err != nil {
		return bootdir.Choice{}, err
	}
	now := bootdir.Choice{Foreign: config.Default, Listed: config.IDs()}
	if len(now.Listed) > 0 && !extlinux.HasDefaultLine(text) {
		now.Problem = fmt.Sprintf("%s/%s was changed by others: its first line does not say what the default is", x.directory, extlinux.ConfigFile)
	}
	if id, trial, ok := extlinux.ParseLabel(config.Default); ok && !trial {
		now.Held = append(now.Held, id)
		if slices.Contains(now.Listed, id) {
			now.Default = id
		}
	}
	vector, _, err := x.readVector()
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, extlinux.ErrMalformed) {
		return now, nil // a damaged vector is an empty one to extlinux
	}
	if err != nil {
		return bootdir.Choice{}, err
	}
	if id, trial, ok := extlinux.ParseLabel(vector.Once()); ok && trial {
		now.Held = append(now.Held, id)
		if config.HasLabel(vector.Once()) {
			now.Trial, now.TriesLeft = id, 1
		}
	}
	return now, nil
}

func (x *extlinuxLoader) Publish(ctx context.Context, r bootdir.Record) error {
	config, text, err := x.readConfig()
	if err != nil {
		return err
	}
	entry, err := x.entry(r)
	if err != nil {
		return err
	}
	if extlinux.HasDefaultLine(text) && x.Problem(ctx, r) == "" {
		return nil // its labels stay where they are among the others
	}
	if err := config.Put(entry); err != nil {
		return err
	}
	return x.writeConfig(config, text)
}

// writeConfig replaces the configuration, unless it is the same.
func (x *extlinuxLoader) writeConfig(config extlinux.Config, old string) error {
	text, err := config.Format()
	if err != nil || text == old {
		return err
	}
	return x.volume.Replace(x.configPath(), []byte(text))
}

func (x *extlinuxLoader) Withdraw(_ context.Context, id string) error {
	config, text, err := x.readConfig()
	if errors.Is(err, extlinux.ErrForeign) || err == nil && !config.HasLabel(extlinux.Label(id, false)) && !config.HasLabel(extlinux.Label(id, true)) {
		return nil // nothing of ours was written there
	}
	if err != nil {
		return err
	}
	config.Drop(id)
	return x.writeConfig(config, text)
}

func (x *extlinuxLoader) Arm(_ context.Context, id string, _ int) error {
	err := x.setOnce(extlinux.Label(id, true))
	if errors.Is(err, os.ErrNotExist) {
		return sdk.Errorf(sdk.CodeUnsupported, "arm a trial of", id, "%s/%s is not there, and only extlinux itself can boot an entry once", x.directory, vectorFile)
	}
	return err
}

// Disarm leaves what others want to boot once.
func (x *extlinuxLoader) Disarm(context.Context) error {
	vector, _, err := x.readVector()
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, extlinux.ErrMalformed) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, trial, ok := extlinux.ParseLabel(vector.Once()); !ok || !trial {
		return nil
	}
	return x.setOnce("")
}

func (x *extlinuxLoader) setOnce(label string) error {
	vector, offset, err := x.readVector()
	switch {
	case errors.Is(err, extlinux.ErrMalformed) && offset > 0:
		vector = extlinux.Vector{} // extlinux starts from an empty one too
	case err != nil:
		return err
	}
	if vector.Once() == label {
		return nil
	}
	vector.SetOnce(label)
	data, err := vector.Bytes()
	if err != nil {
		return err
	}
	return durable.Overwrite(x.vectorPath(), offset, data)
}

// SetDefault takes back a trial of the same entry first: in between, the former
// default boots.
func (x *extlinuxLoader) SetDefault(ctx context.Context, id string) error {
	now, err := x.Read(ctx)
	if err != nil {
		return err
	}
	if now.Trial == id {
		if err := x.Disarm(ctx); err != nil {
			return err
		}
	}
	config, text, err := x.readConfig()
	if err != nil || config.Default == extlinux.Label(id, false) && extlinux.HasDefaultLine(text) {
		return err
	}
	line, err := extlinux.FormatDefaultLine(extlinux.Label(id, false))
	if err != nil {
		return err
	}
	return durable.Overwrite(x.configPath(), 0, []byte(line))
}

// CheckKernel refuses a kernel that ends too early: extlinux stops at its prompt when
// it cannot load one.
func (x *extlinuxLoader) CheckKernel(image io.ReaderAt, size uint64) error {
	return kernelset.CheckWhole(image, size)
}

// Problem compares the entry's labels with what they should be.
func (x *extlinuxLoader) Problem(_ context.Context, r bootdir.Record) string {
	config, _, err := x.readConfig()
	if err != nil {
		return err.Error()
	}
	entry, err := x.entry(r)
	if err != nil {
		return err.Error()
	}
	others := config
	others.Drop(r.ID)
	if len(config.Block)-len(others.Block) != len(entry.Labels()) || !config.HasLabels(entry) {
		return fmt.Sprintf("its labels in %s/%s are not what tbupdate wrote", x.directory, extlinux.ConfigFile)
	}
	return ""
}

// WorkingRoom counts the old configuration, the new one, and its growth.
func (x *extlinuxLoader) WorkingRoom() uint64 {
	text, err := readText(x.configPath())
	if err != nil {
		text = ""
	}
	return 2*uint64(len(text)) + 8*4096
}
