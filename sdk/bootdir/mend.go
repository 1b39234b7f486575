package bootdir

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
)

// mend gives the files of an entry that boots, or is about to, what the record says
// of them. Each is replaced as a whole, so the loader finds the damaged file or the
// right one; whatever is whole is not touched.
func (p *Plugin) mend(ctx context.Context, order Order, r Record) error {
	scripts, err := p.loader.Scripts(r)
	if err != nil {
		return err
	}
	var damagedFiles []InstalledFile
	for _, file := range r.All() {
		if sum, err := durable.Digest(ctx, p.volume.Path(file.Target)); err != nil || sum != file.SHA256 {
			damagedFiles = append(damagedFiles, file)
		}
	}
	made, release, err := p.madeAgain(ctx, order, r, damagedFiles)
	if err != nil {
		return err
	}
	defer release()
	for _, file := range damagedFiles {
		if err := p.mendFile(ctx, order, file, scripts, made); err != nil {
			return fmt.Errorf("cannot mend %s: %w", file.Target, err)
		}
	}
	if err := p.writeRecord(r); err != nil {
		return err
	}
	return p.loader.Publish(ctx, r)
}

// madeAgain lets the Maker make its files again when one of them is damaged.
func (p *Plugin) madeAgain(ctx context.Context, order Order, r Record, damagedFiles []InstalledFile) ([]MadeFile, func(), error) {
	for _, file := range damagedFiles {
		for _, candidate := range r.Made {
			if candidate == file {
				return p.makeFiles(ctx, order)
			}
		}
	}
	return nil, func() {}, nil
}

func (p *Plugin) mendFile(ctx context.Context, order Order, file InstalledFile, scripts map[string]string, made []MadeFile) error {
	source, err := p.sourceOf(ctx, order, file, scripts, made)
	if err != nil {
		return err
	}
	defer source.Close()
	path := p.volume.Path(file.Target)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	_, sum, err := p.volume.ReplaceFrom(ctx, path, source)
	if err != nil {
		return err
	}
	if sum != file.SHA256 {
		return sdk.Errorf(sdk.CodeCorrupt, "mend", file.Target, "what it is made from is not what it was")
	}
	return nil
}

// sourceOf opens what a file of an entry was written from.
func (p *Plugin) sourceOf(ctx context.Context, order Order, file InstalledFile, scripts map[string]string, made []MadeFile) (io.ReadCloser, error) {
	name := strings.TrimPrefix(file.Target, EntryPath(order.Plan.ID)+"/")
	if text, ok := scripts[name]; ok {
		return io.NopCloser(strings.NewReader(text)), nil
	}
	for _, m := range made {
		if m.Name != name {
			continue
		}
		// Two runs of a tool may differ in a date. Nothing is written that the record
		// does not know.
		if sum, err := durable.Digest(ctx, m.Path); err != nil || sum != file.SHA256 {
			return nil, sdk.Errorf(sdk.CodeBusy, "mend", file.Target, "it cannot be made again as it was, and is needed to boot; make another entry the default first")
		}
		return os.Open(m.Path)
	}
	return order.Tree.Open(file.Source)
}

// withoutRecord looks at an entry whose record is gone or damaged. When the loader
// has it exactly as asked, only the record, and perhaps files, are missing. What a
// Maker made cannot be judged without a record.
func (p *Plugin) withoutRecord(ctx context.Context, order Order) (Record, condition, error) {
	if _, ok := p.loader.(Maker); ok {
		return Record{}, other, nil
	}
	r := order.Plan
	if _, err := os.Lstat(p.volume.Path(EntryPath(r.ID))); err != nil {
		return Record{}, other, nil
	}
	required, err := p.need(order.Set)
	if err != nil {
		return Record{}, other, err
	}
	r.Bytes = required.bytes
	if r.Files, err = wantedFiles(ctx, order); err != nil {
		return Record{}, other, err
	}
	scripts, err := p.loader.Scripts(r)
	if err != nil {
		return Record{}, other, err
	}
	r.Scripts = scriptFilesOf(r.ID, scripts)
	if p.verifyFiles(ctx, r) != nil || p.loader.Problem(ctx, r) != "" {
		return Record{}, other, ctx.Err()
	}
	return r, damaged, nil
}

// writeRecord replaces the record, unless it is the same.
func (p *Plugin) writeRecord(r Record) error {
	text, err := r.encode()
	if err != nil {
		return err
	}
	path := p.volume.Path(EntryPath(r.ID, RecordFile))
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return p.volume.Replace(path, text)
}
