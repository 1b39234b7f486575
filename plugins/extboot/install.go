package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/extfs"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/kernelset"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// Install implements sdk.Boot.
//
// The order closes these windows: every file, then the record, then all of it
// settled where a loader finds it, and only then the write that makes the loader
// list the entry. A crash before that write leaves a directory that nothing refers
// to, which the next Install or Remove takes away.
func (p *plugin) Install(ctx context.Context, entry sdk.Entry) (sdk.KernelSet, error) {
	const operation = "install"
	if err := p.ready(operation, entry.ID); err != nil {
		return sdk.KernelSet{}, err
	}
	if err := checkEntry(entry); err != nil {
		return sdk.KernelSet{}, err
	}
	tree, err := kernelset.OpenRoot(entry.Root)
	if err != nil {
		return sdk.KernelSet{}, fail(operation, entry.ID, err)
	}
	defer tree.Close()
	installed, err := p.install(ctx, tree, entry)
	if err != nil {
		return sdk.KernelSet{}, fail(operation, entry.ID, err)
	}
	return installed.kernelSet(), nil
}

func (p *plugin) install(ctx context.Context, tree *kernelset.Root, entry sdk.Entry) (record, error) {
	const operation = "install"
	set, err := p.findKernelSet(tree)
	if err != nil {
		return record{}, err
	}
	plan := record{ID: entry.ID, Title: entry.Title, Version: set.Version, Arguments: entry.Arguments, TrialArguments: entry.TrialArguments}
	if _, err := p.loader.scripts(plan); err != nil {
		return record{}, err
	}
	now, err := p.loader.read()
	if err != nil {
		return record{}, err
	}
	same, ok, err := p.alreadyInstalled(ctx, tree, set, plan)
	if err != nil {
		return record{}, err
	}
	if ok && now.problem == "" && slices.Contains(now.listed, entry.ID) && p.loader.problem(same) == "" {
		return same, nil
	}
	if err := p.writable(operation, entry.ID); err != nil {
		return record{}, err
	}
	if ok { // its files are whole, and others took away what makes the loader list it
		return same, p.loader.publish(same)
	}
	if slices.Contains(now.held, entry.ID) {
		return record{}, sdk.Errorf(sdk.CodeBusy, operation, entry.ID, "it is the %s and is not what is asked for; nothing was changed", roleOf(entry.ID, now))
	}
	return p.reinstall(ctx, tree, set, plan)
}

func roleOf(id string, now choice) string {
	switch id {
	case now.defaultID:
		return "default"
	case now.trial:
		return "armed trial"
	}
	return "default or trial as soon as the loader's configuration is mended"
}

// reinstall writes an entry from nothing, after taking away what was there.
func (p *plugin) reinstall(ctx context.Context, tree *kernelset.Root, set kernelset.Set, plan record) (record, error) {
	required, err := p.need(set)
	if err != nil {
		return record{}, err
	}
	if err := p.checkRoom(plan.ID, required); err != nil {
		return record{}, err
	}
	plan.Bytes = required.bytes
	if err := p.takeAway(plan.ID); err != nil {
		return record{}, err
	}
	done, err := p.writeEntry(ctx, tree, set, plan)
	if err == nil {
		err = p.loader.publish(done)
	}
	if err != nil {
		// Whatever of it is there, nothing may need it: the entry was neither
		// default nor trial.
		if undoErr := p.takeAway(plan.ID); undoErr != nil {
			return record{}, fmt.Errorf("%w; what was written could not be removed: %w", err, undoErr)
		}
		return record{}, fmt.Errorf("%w; what was written is removed", err)
	}
	return done, nil
}

// alreadyInstalled reports whether the entry on the disk is exactly what is asked:
// same words, same files in the root tree, nothing damaged.
func (p *plugin) alreadyInstalled(ctx context.Context, tree *kernelset.Root, set kernelset.Set, plan record) (record, bool, error) {
	old, err := readRecord(p.volume, plan.ID)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, errDamaged) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, err
	}
	if old.Title != plan.Title || old.Version != plan.Version || !slices.Equal(old.Arguments, plan.Arguments) ||
		!slices.Equal(old.TrialArguments, plan.TrialArguments) || len(old.Files) != len(set.Files) {
		return record{}, false, nil
	}
	for i, file := range set.Files {
		sum, err := digestSource(ctx, tree, file.Source)
		if err != nil {
			return record{}, false, err
		}
		want := installedFile{file.Role, file.Source, entryPath(plan.ID, file.Name), file.Size, sum}
		if old.Files[i] != want {
			return record{}, false, nil
		}
	}
	if err := p.verifyFiles(ctx, old); err != nil {
		if ctx.Err() != nil {
			return record{}, false, ctx.Err()
		}
		return record{}, false, nil
	}
	return old, true, nil
}

func digestSource(ctx context.Context, tree *kernelset.Root, name string) (string, error) {
	file, err := tree.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, extfs.ContextReader(ctx, file)); err != nil {
		return "", fmt.Errorf("cannot read %s: %w", name, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// checkRoom refuses before anything is written. What a former try of the same
// entry takes will be free by then.
func (p *plugin) checkRoom(id string, required need) error {
	space, err := p.volume.Space()
	if err != nil {
		return err
	}
	leftover, err := usage(p.volume.Path(entryPath(id)))
	if err != nil {
		return err
	}
	if free := space.FreeBytes + leftover.bytes; required.bytes > free {
		return sdk.Errorf(sdk.CodeNoSpace, "install", id, "it takes %d bytes, and %s has %d bytes free of %d; nothing was written",
			required.bytes, p.volume.Directory, free, space.TotalBytes)
	}
	if free := space.FreeInodes + leftover.inodes; required.inodes > free {
		return sdk.Errorf(sdk.CodeNoSpace, "install", id, "it takes %d inodes, and %s has %d free; nothing was written",
			required.inodes, p.volume.Directory, free)
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
func (p *plugin) writeEntry(ctx context.Context, tree *kernelset.Root, set kernelset.Set, r record) (record, error) {
	if err := os.MkdirAll(p.volume.Path(grubcfg.Directory), 0o755); err != nil {
		return record{}, err
	}
	if err := os.Mkdir(p.volume.Path(entryPath(r.ID)), 0o755); err != nil {
		return record{}, err
	}
	for _, file := range set.Files {
		installed, err := p.copyFile(ctx, tree, file, entryPath(r.ID, file.Name))
		if err != nil {
			return record{}, err
		}
		r.Files = append(r.Files, installed)
	}
	if err := p.writeScripts(&r); err != nil {
		return record{}, err
	}
	text, err := r.encode()
	if err != nil {
		return record{}, err
	}
	if err := extfs.Create(p.volume.Path(entryPath(r.ID, recordFile)), text); err != nil {
		return record{}, err
	}
	if err := ctx.Err(); err != nil {
		return record{}, err
	}
	return r, p.volume.Settle()
}

func (p *plugin) copyFile(ctx context.Context, tree *kernelset.Root, file kernelset.File, target string) (installedFile, error) {
	source, err := tree.Open(file.Source)
	if err != nil {
		return installedFile{}, err
	}
	defer source.Close()
	path := p.volume.Path(target)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return installedFile{}, err
	}
	size, sum, err := extfs.Copy(ctx, path, source)
	if err != nil {
		return installedFile{}, fmt.Errorf("cannot copy %s: %w", file.Source, err)
	}
	if size != file.Size {
		return installedFile{}, fmt.Errorf("cannot copy %s: it had %d bytes and now has %d", file.Source, file.Size, size)
	}
	return installedFile{file.Role, file.Source, target, size, sum}, nil
}

func (p *plugin) writeScripts(r *record) error {
	scripts, err := p.loader.scripts(*r)
	if err != nil {
		return err
	}
	for name, text := range scripts {
		target := entryPath(r.ID, name)
		if err := extfs.Create(p.volume.Path(target), []byte(text)); err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(text))
		r.Scripts = append(r.Scripts, installedFile{Target: target, Size: uint64(len(text)), SHA256: hex.EncodeToString(sum[:])})
	}
	slices.SortFunc(r.Scripts, func(a, b installedFile) int { return strings.Compare(a.Target, b.Target) })
	return nil
}
