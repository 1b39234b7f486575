package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubenv"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
	"github.com/trebuchet-update/tbupdate/sdk/extfs"
)

// grubLoader is GRUB 2. docs/decisions/0003-boot-writes.md says why its files
// are cut the way they are.
//
// All that ever changes for a switch is one sector: the first of an environment
// block of our own. GRUB's usual one, grub/grubenv, is not used, since others
// truncate and rewrite it (grub-editenv and what calls it at each start).
type grubLoader struct {
	volume    *extfs.Volume
	directory string // of grub.cfg, on the boot filesystem
}

func (g *grubLoader) Name() string  { return loaderGRUB }
func (g *grubLoader) MaxTries() int { return grubcfg.MaxTries }

func (g *grubLoader) own(name string) string   { return g.volume.Path(bootdir.Directory, name) }
func (g *grubLoader) grubs(name string) string { return g.volume.Path(g.directory, name) }

func (g *grubLoader) Scripts(r bootdir.Record) (map[string]string, error) {
	return grubcfg.Entry{
		ID: r.ID, Title: r.Title,
		Kernel: bootdir.EntryPath(r.ID, "vmlinuz"), Initrd: r.File(sdk.RoleInitrd), DeviceTree: r.OneDeviceTree(),
		Arguments: r.Arguments, TrialArguments: r.TrialArguments,
	}.Files()
}

// environment is what the include has in its variables before it chooses.
type environment struct {
	block    grubenv.Block
	broken   bool   // the block cannot be read: the include goes by the default file
	fallback string // the default file's id
}

func (g *grubLoader) readEnvironment() (environment, error) {
	var e environment
	data, err := os.ReadFile(g.own(grubcfg.DefaultFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return environment{}, err
	}
	e.fallback, _ = grubcfg.ParseDefault(data)
	data, err = os.ReadFile(g.own(grubcfg.EnvironmentFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return environment{}, err
	}
	if e.block, err = grubenv.Parse(data); err != nil {
		e.broken = true
		e.block = newBlock(e.fallback, "", nil)
		if e.fallback != "" {
			e.block.Set(grubcfg.VariableEntries, e.fallback)
		}
	}
	return e, nil
}

// damage says what is wrong with the two files that name the default.
func (e environment) damage() string {
	switch {
	case e.broken:
		return fmt.Sprintf("%s/%s cannot be read, so GRUB can try nothing", bootdir.Directory, grubcfg.EnvironmentFile)
	case e.fallback != value(e.block, grubcfg.VariableDefault):
		return fmt.Sprintf("%s/%s does not name the default, for when %s cannot be read", bootdir.Directory, grubcfg.DefaultFile, grubcfg.EnvironmentFile)
	}
	return ""
}

// newBlock makes a block with our variables first and in a fixed order.
func newBlock(defaultID, previous string, entries []string) grubenv.Block {
	var block grubenv.Block
	block.Set(grubcfg.VariableDefault, defaultID)
	block.Set(grubcfg.VariablePrevious, previous)
	block.Set(grubcfg.VariableTrial, "")
	block.Set(grubcfg.VariableTries, "")
	block.Set(grubcfg.VariableEntries, strings.Join(entries, " "))
	return block
}

// setTrial notes a trial and how often it is to be booted, "" and 0 for none.
func setTrial(block *grubenv.Block, id string, tries int) {
	count := ""
	if tries > 0 {
		count = strconv.Itoa(tries)
	}
	block.Set(grubcfg.VariableTrial, id)
	block.Set(grubcfg.VariableTries, count)
}

// triesOf reads the count as the include does.
func triesOf(block grubenv.Block) int {
	tries, err := strconv.Atoi(value(block, grubcfg.VariableTries))
	if err != nil || tries < 1 || tries > grubcfg.MaxTries {
		return 1
	}
	return tries
}

func value(block grubenv.Block, name string) string {
	text, _ := block.Get(name)
	return text
}

func entriesOf(block grubenv.Block) []string {
	return strings.Fields(value(block, grubcfg.VariableEntries))
}

// Read does what the include does with what is on the disk.
func (g *grubLoader) Read(context.Context) (bootdir.Choice, error) {
	foreign, err := g.foreignDefault()
	if err != nil {
		return bootdir.Choice{}, err
	}
	now := bootdir.Choice{Foreign: foreign}
	e, err := g.readEnvironment()
	if err != nil {
		return bootdir.Choice{}, err
	}
	for _, id := range entriesOf(e.block) {
		if notEmpty(g.volume.Path(bootdir.EntryPath(id, grubcfg.MenuFile))) {
			now.Listed = append(now.Listed, id)
		}
	}
	for _, name := range []string{grubcfg.VariableDefault, grubcfg.VariableTrial} {
		if id := value(e.block, name); id != "" {
			now.Held = append(now.Held, id)
		}
	}
	if now.Problem, err = g.notRead(); err != nil || now.Problem != "" {
		return now, err
	}
	for _, name := range []string{grubcfg.VariablePrevious, grubcfg.VariableDefault} {
		if id := value(e.block, name); slices.Contains(now.Listed, id) {
			now.Default = id
		}
	}
	if now.Default != "" {
		now.Held = append(now.Held, now.Default) // it may be the one before
		now.Damage = e.damage()
	}
	if id := value(e.block, grubcfg.VariableTrial); slices.Contains(now.Listed, id) && !e.broken {
		now.Trial, now.TriesLeft = id, triesOf(e.block)
	}
	return now, nil
}

// notRead says why GRUB does not come to our include, "" when it does.
func (g *grubLoader) notRead() (string, error) {
	config, err := readText(g.grubs(grubcfg.ConfigFile))
	if err != nil {
		return "", err
	}
	custom, err := readText(g.grubs(grubcfg.CustomFile))
	if err != nil {
		return "", err
	}
	include, err := readText(g.own(grubcfg.IncludeFile))
	if err != nil {
		return "", err
	}
	switch {
	case !grubcfg.ParseForeign(config).SourcesCustom:
		return fmt.Sprintf("%s/%s does not source %s at its end", g.directory, grubcfg.ConfigFile, grubcfg.CustomFile), nil
	case !grubcfg.HasHook(custom, g.volume.Superblock.UUID):
		return fmt.Sprintf("%s/%s does not end with the block of tbupdate for the filesystem %s", g.directory, grubcfg.CustomFile, g.volume.Superblock.UUID), nil
	case include != grubcfg.Include():
		return fmt.Sprintf("%s/%s is not what tbupdate wrote", bootdir.Directory, grubcfg.IncludeFile), nil
	}
	return "", nil
}

// foreignDefault says what GRUB boots when the include chooses nothing: what
// grub.cfg sets, through GRUB's own environment where it refers to that.
func (g *grubLoader) foreignDefault() (string, error) {
	config, err := readText(g.grubs(grubcfg.ConfigFile))
	if err != nil {
		return "", err
	}
	chosen := grubcfg.ParseForeign(config).Default
	name, isVariable := strings.CutPrefix(strings.Trim(chosen, "{}"), "$")
	if !isVariable {
		return chosen, nil
	}
	data, err := os.ReadFile(g.grubs("grubenv"))
	if err != nil {
		return "0", nil
	}
	block, err := grubenv.Parse(data)
	if saved := value(block, strings.Trim(name, "{}")); err == nil && saved != "" {
		return saved, nil
	}
	return "0", nil
}

// Publish makes sure that GRUB reads our include, then lists the entry. The static
// files are settled before the hook that sources them is written; that once, the
// switch of the first default comes later still.
func (g *grubLoader) Publish(_ context.Context, r bootdir.Record) error {
	if err := g.writeStatic(); err != nil {
		return err
	}
	e, err := g.readEnvironment()
	if err != nil {
		return err
	}
	entries := entriesOf(e.block)
	if slices.Contains(entries, r.ID) {
		return nil
	}
	e.block.Set(grubcfg.VariableEntries, strings.Join(append(entries, r.ID), " "))
	if err := fits(e.block); err != nil {
		return err
	}
	return g.writeBlock(e.block)
}

// fits makes sure that whatever entry becomes trial or default later, the block has
// the room for it: only listing one may fail for want of it.
func fits(block grubenv.Block) error {
	longest := slices.MaxFunc(entriesOf(block), func(a, b string) int { return len(a) - len(b) })
	full := block.Clone()
	full.Set(grubcfg.VariableDefault, longest)
	full.Set(grubcfg.VariablePrevious, longest)
	setTrial(&full, longest, grubcfg.MaxTries)
	_, err := full.SectorBytes()
	return blockError(err)
}

func blockError(err error) error {
	if errors.Is(err, grubenv.ErrFull) {
		return sdk.Errorf(sdk.CodeNoSpace, "list in", bootdir.Directory+"/"+grubcfg.EnvironmentFile, "%w; remove generations first", err)
	}
	return err
}

// writeStatic writes the files that are written once, where they are not what they
// should be.
func (g *grubLoader) writeStatic() error {
	e, err := g.readEnvironment()
	if err != nil {
		return err
	}
	if e.broken {
		// All that is wholly installed is listed again.
		ids, err := bootdir.InstalledIDs(g.volume)
		if err != nil {
			return err
		}
		ids = slices.DeleteFunc(ids, func(id string) bool {
			_, err := bootdir.ReadRecord(g.volume, id)
			return err != nil
		})
		data, err := newBlock(e.fallback, "", ids).SectorBytes()
		if err != nil {
			return err
		}
		if err := g.volume.Replace(g.own(grubcfg.EnvironmentFile), data); err != nil {
			return err
		}
	}
	data, err := os.ReadFile(g.own(grubcfg.DefaultFile))
	if _, ok := grubcfg.ParseDefault(data); err != nil || !ok {
		if err := g.volume.Replace(g.own(grubcfg.DefaultFile), grubcfg.FormatDefault(value(e.block, grubcfg.VariableDefault))); err != nil {
			return err
		}
	}
	if err := g.replaceUnlessEqual(g.own(grubcfg.IncludeFile), grubcfg.Include()); err != nil {
		return err
	}
	return g.writeHook()
}

func (g *grubLoader) writeHook() error {
	custom, err := readText(g.grubs(grubcfg.CustomFile))
	if err != nil {
		return err
	}
	if err := g.replaceUnlessEqual(g.grubs(grubcfg.CustomFile), grubcfg.AddHook(custom, g.volume.Superblock.UUID)); err != nil {
		return err
	}
	if exists(g.grubs(grubcfg.ConfigFile)) {
		return nil
	}
	return g.replaceUnlessEqual(g.grubs(grubcfg.ConfigFile), grubcfg.MinimalConfig())
}

func (g *grubLoader) replaceUnlessEqual(path, text string) error {
	old, err := readText(path)
	if err != nil || old == text {
		return err
	}
	return g.volume.Replace(path, []byte(text))
}

// writeBlock writes the environment block in place: the one write that GRUB sees at
// once or not at all. A block that equals the one on the disk is not written.
func (g *grubLoader) writeBlock(block grubenv.Block) error {
	data, err := block.SectorBytes()
	if err != nil {
		return blockError(err)
	}
	path := g.own(grubcfg.EnvironmentFile)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return nil
	}
	return durable.Overwrite(path, 0, data)
}

func (g *grubLoader) Withdraw(_ context.Context, id string) error {
	if !exists(g.own(grubcfg.EnvironmentFile)) {
		return nil
	}
	e, err := g.readEnvironment()
	if err != nil || e.broken {
		return err // a broken block lists nothing but the fallback, which publish rebuilds
	}
	// The default file may still name a former default, when SetDefault was cut off
	// between its two writes: it must not name what is about to go.
	if e.fallback == id {
		if err := g.writeDefaultFile(value(e.block, grubcfg.VariableDefault)); err != nil {
			return err
		}
	}
	entries := slices.DeleteFunc(entriesOf(e.block), func(entry string) bool { return entry == id })
	e.block.Set(grubcfg.VariableEntries, strings.Join(entries, " "))
	if value(e.block, grubcfg.VariablePrevious) == id {
		e.block.Set(grubcfg.VariablePrevious, "")
	}
	return g.writeBlock(e.block)
}

func (g *grubLoader) Arm(_ context.Context, id string, tries int) error {
	e, err := g.readEnvironment()
	if err != nil {
		return err
	}
	setTrial(&e.block, id, tries)
	return g.writeBlock(e.block)
}

func (g *grubLoader) Disarm(context.Context) error {
	e, err := g.readEnvironment()
	if err != nil || e.broken || value(e.block, grubcfg.VariableTrial) == "" {
		return err
	}
	setTrial(&e.block, "", 0)
	return g.writeBlock(e.block)
}

// SetDefault switches with the environment block. The default file, which counts
// only when the block cannot be read, follows: in between it names the former
// default, whose pair is still whole.
func (g *grubLoader) SetDefault(_ context.Context, id string) error {
	if err := g.writeStatic(); err != nil { // where a file is damaged
		return err
	}
	e, err := g.readEnvironment()
	if err != nil {
		return err
	}
	if old := value(e.block, grubcfg.VariableDefault); old != id {
		e.block.Set(grubcfg.VariablePrevious, old)
		e.block.Set(grubcfg.VariableDefault, id)
	}
	if value(e.block, grubcfg.VariableTrial) == id {
		setTrial(&e.block, "", 0)
	}
	if err := g.writeBlock(e.block); err != nil {
		return err
	}
	return g.writeDefaultFile(id)
}

func (g *grubLoader) writeDefaultFile(id string) error {
	path, data := g.own(grubcfg.DefaultFile), grubcfg.FormatDefault(id)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return nil
	}
	return durable.Overwrite(path, 0, data)
}

// Problem compares the entry's scripts with what they should be.
func (g *grubLoader) Problem(_ context.Context, r bootdir.Record) string {
	scripts, err := g.Scripts(r)
	if err != nil {
		return err.Error()
	}
	for name, want := range scripts {
		if got, err := readText(g.volume.Path(bootdir.EntryPath(r.ID, name))); err != nil || got != want {
			return filepath.Join(bootdir.Directory, r.ID, name) + " is not what tbupdate wrote"
		}
	}
	return ""
}

// WorkingRoom counts the static files, and grub.cfg's neighbours old and new.
func (g *grubLoader) WorkingRoom() uint64 {
	custom, err := readText(g.grubs(grubcfg.CustomFile))
	if err != nil {
		custom = ""
	}
	return uint64(len(custom)) + 16*4096
}
