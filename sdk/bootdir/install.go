package bootdir

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

// Install implements sdk.Boot.
//
// The order closes these windows: every file, then the record, then all of it
// settled where a loader finds it, and only then the write that makes the loader
// list the entry. A crash before that write leaves a directory that nothing refers
// to, which the next Install or Remove takes away.
func (p *Plugin) Install(ctx context.Context, entry sdk.Entry) (sdk.KernelSet, error) {
	const operation = "install"
	if err := p.ready(operation, entry.ID); err != nil {
		return sdk.KernelSet{}, err
	}
	if err := checkEntry(entry); err != nil {
		return sdk.KernelSet{}, err
	}
	tree, err := kernelset.OpenRoot(entry.Root)
	if err != nil {
		return sdk.KernelSet{}, p.fail(operation, entry.ID, err)
	}
	defer tree.Close()
	installed, err := p.install(ctx, tree, entry)
	if err != nil {
		return sdk.KernelSet{}, p.fail(operation, entry.ID, err)
	}
	return installed.kernelSet(), nil
}

func (p *Plugin) install(ctx context.Context, tree *kernelset.Root, entry sdk.Entry) (Record, error) {
	const operation = "install"
	order, err := p.plan(ctx, tree, entry)
	if err != nil {
		return Record{}, err
	}
	now, err := p.loader.Read(ctx)
	if err != nil {
		return Record{}, err
	}
	found, condition, err := p.alreadyInstalled(ctx, order)
	if err != nil {
		return Record{}, err
	}
	listed := now.Problem == "" && slices.Contains(now.Listed, entry.ID)
	if condition == whole && listed && p.loader.Problem(ctx, found) == "" {
		return found, nil
	}
	if err := p.writable(operation, entry.ID); err != nil {
		return Record{}, err
	}
	held := slices.Contains(now.Held, entry.ID)
	switch {
	case condition == whole: // others took away what makes the loader list it
		return found, p.loader.Publish(ctx, found)
	case held && condition == damaged:
		return found, p.mend(ctx, order, found)
	case held:
		return Record{}, sdk.Errorf(sdk.CodeBusy, operation, entry.ID, "it is the %s and is not what is asked for; nothing was changed", roleOf(entry.ID, now))
	}
	return p.reinstall(ctx, order)
}

// plan finds out what is to be installed, and refuses what the loader could not be
// told.
func (p *Plugin) plan(ctx context.Context, tree *kernelset.Root, entry sdk.Entry) (Order, error) {
	set, err := p.findKernelSet(tree)
	if err != nil {
		return Order{}, err
	}
	order := Order{Root: entry.Root, Tree: tree, Set: set, Plan: Record{
		ID: entry.ID, Title: entry.Title, Version: set.Version, Arguments: entry.Arguments, TrialArguments: entry.TrialArguments,
	}}
	if _, err := p.loader.Scripts(order.Plan); err != nil {
		return Order{}, err
	}
	if maker, ok := p.loader.(Maker); ok {
		if order.Plan.MadeFrom, err = maker.MadeFrom(ctx, order); err != nil {
			return Order{}, err
		}
	}
	return order, nil
}

func roleOf(id string, now Choice) string {
	switch id {
	case now.Default:
		return "default"
	case now.Trial:
		return "armed trial"
	}
	return "default or trial as soon as the loader's configuration is mended"
}

// reinstall writes an entry from nothing, after taking away what was there.
func (p *Plugin) reinstall(ctx context.Context, order Order) (Record, error) {
	required, err := p.need(order.Set)
	if err != nil {
		return Record{}, err
	}
	if err := p.checkRoom(order.Plan.ID, required); err != nil {
		return Record{}, err
	}
	order.Plan.Bytes = required.bytes
	made, release, err := p.makeFiles(ctx, order)
	if err != nil {
		return Record{}, err
	}
	defer release()
	if err := p.takeAway(ctx, order.Plan.ID); err != nil {
		return Record{}, err
	}
	done, err := p.writeEntry(ctx, order, made)
	if err == nil {
		err = p.loader.Publish(ctx, done)
	}
	if err != nil {
		// Whatever of it is there, nothing may need it: the entry was neither
		// default nor trial. It goes also when the context is what ended.
		if undoErr := p.takeAway(context.WithoutCancel(ctx), order.Plan.ID); undoErr != nil {
			return Record{}, fmt.Errorf("%w; what was written could not be removed: %w", err, undoErr)
		}
		return Record{}, fmt.Errorf("%w; what was written is removed", err)
	}
	return done, nil
}

// condition is what there is of an entry, compared with what is asked.
type condition int

const (
	other   condition = iota // nothing, something else, or something unknown
	damaged                  // the same, but files of it are not what was installed
	whole
)

// alreadyInstalled compares the entry on the disk with what is asked: same words,
// same files in the root tree, nothing damaged.
func (p *Plugin) alreadyInstalled(ctx context.Context, order Order) (Record, condition, error) {
	old, err := ReadRecord(p.volume, order.Plan.ID)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrDamaged) {
		return p.withoutRecord(ctx, order)
	}
	if err != nil {
		return Record{}, other, err
	}
	plan := order.Plan
	if old.Title != plan.Title || old.Version != plan.Version || !slices.Equal(old.Arguments, plan.Arguments) ||
		!slices.Equal(old.TrialArguments, plan.TrialArguments) || old.MadeFrom != plan.MadeFrom {
		return Record{}, other, nil
	}
	wanted, err := wantedFiles(ctx, order)
	if err != nil || !slices.Equal(old.Files, wanted) {
		return Record{}, other, err
	}
	if err := p.verifyFiles(ctx, old); err != nil {
		return old, damaged, ctx.Err()
	}
	return old, whole, nil
}

// wantedFiles gives the kernel set as it will be in a record.
func wantedFiles(ctx context.Context, order Order) ([]InstalledFile, error) {
	var files []InstalledFile
	for _, file := range order.Set.Files {
		sum, err := digestSource(ctx, order.Tree, file.Source)
		if err != nil {
			return nil, err
		}
		files = append(files, InstalledFile{file.Role, file.Source, EntryPath(order.Plan.ID, file.Name), file.Size, sum})
	}
	return files, nil
}

func digestSource(ctx context.Context, tree *kernelset.Root, name string) (string, error) {
	file, err := tree.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, durable.ContextReader(ctx, file)); err != nil {
		return "", fmt.Errorf("cannot read %s: %w", name, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// checkRoom refuses before anything is written. What a former try of the same
// entry takes will be free by then.
func (p *Plugin) checkRoom(id string, required need) error {
	space, err := p.volume.Space()
	if err != nil {
		return err
	}
	leftover, err := usage(p.volume.Path(EntryPath(id)))
	if err != nil {
		return err
	}
	if free := space.FreeBytes + leftover.bytes; required.bytes > free {
		return sdk.Errorf(sdk.CodeNoSpace, "install", id, "it takes %d bytes, and %s has %d bytes free of %d; nothing was written",
			required.bytes, p.volume.Path(), free, space.TotalBytes)
	}
	if free := space.FreeInodes + leftover.inodes; required.inodes > free {
		return sdk.Errorf(sdk.CodeNoSpace, "install", id, "it takes %d inodes, and %s has %d free; nothing was written",
			required.inodes, p.volume.Path(), free)
	}
	return nil
}

// usage gives what a directory tree takes, nothing when it is not there.
func usage(dir string) (need, error) {
	var total need
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return &os.PathError{Op: "lstat", Path: path, Err: err}
		}
		total.bytes += uint64(stat.Blocks) * 512
		total.inodes++
		return nil
	})
	return total, err
}

// writeEntry fills the entry's directory and settles it.
func (p *Plugin) writeEntry(ctx context.Context, order Order, made []MadeFile) (Record, error) {
	r := order.Plan
	if err := os.MkdirAll(p.volume.Path(Directory), 0o755); err != nil {
		return Record{}, err
	}
	if err := os.Mkdir(p.volume.Path(EntryPath(r.ID)), 0o755); err != nil {
		return Record{}, err
	}
	for _, file := range order.Set.Files {
		installed, err := p.copyFile(ctx, order.Tree, file, EntryPath(r.ID, file.Name))
		if err != nil {
			return Record{}, err
		}
		r.Files = append(r.Files, installed)
	}
	for _, file := range made {
		installed, err := p.copyMade(ctx, file, EntryPath(r.ID, file.Name))
		if err != nil {
			return Record{}, err
		}
		r.Made = append(r.Made, installed)
	}
	if err := p.writeScripts(&r); err != nil {
		return Record{}, err
	}
	text, err := r.encode()
	if err != nil {
		return Record{}, err
	}
	if err := durable.Create(p.volume.Path(EntryPath(r.ID, RecordFile)), text); err != nil {
		return Record{}, err
	}
	if err := ctx.Err(); err != nil {
		return Record{}, err
	}
	return r, p.volume.Settle()
}

func (p *Plugin) copyFile(ctx context.Context, tree *kernelset.Root, file kernelset.File, target string) (InstalledFile, error) {
	source, err := tree.Open(file.Source)
	if err != nil {
		return InstalledFile{}, err
	}
	defer source.Close()
	size, sum, err := p.copyTo(ctx, target, source)
	if err != nil {
		return InstalledFile{}, fmt.Errorf("cannot copy %s: %w", file.Source, err)
	}
	if size != file.Size {
		return InstalledFile{}, fmt.Errorf("cannot copy %s: it had %d bytes and now has %d", file.Source, file.Size, size)
	}
	return InstalledFile{file.Role, file.Source, target, size, sum}, nil
}

func (p *Plugin) copyTo(ctx context.Context, target string, source io.Reader) (size uint64, sum string, err error) {
	path := p.volume.Path(target)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return 0, "", err
	}
	return durable.Copy(ctx, path, source)
}

// writeScripts writes the loader's files of an entry.
func (p *Plugin) writeScripts(r *Record) error {
	scripts, err := p.loader.Scripts(*r)
	if err != nil {
		return err
	}
	for name, text := range scripts {
		if err := durable.Create(p.volume.Path(EntryPath(r.ID, name)), []byte(text)); err != nil {
			return err
		}
	}
	r.Scripts = scriptFilesOf(r.ID, scripts)
	return nil
}

// scriptFilesOf gives scripts as they are in a record.
func scriptFilesOf(id string, scripts map[string]string) []InstalledFile {
	var files []InstalledFile
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		sum := sha256.Sum256([]byte(scripts[name]))
		files = append(files, InstalledFile{Target: EntryPath(id, name), Size: uint64(len(scripts[name])), SHA256: hex.EncodeToString(sum[:])})
	}
	return files
}
