package bootdir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// makeFiles lets a Maker make its files, in a directory that release removes.
func (p *Plugin) makeFiles(ctx context.Context, order Order) (made []MadeFile, release func(), err error) {
	maker, ok := p.loader.(Maker)
	if !ok {
		return nil, func() {}, nil
	}
	if order.Scratch, err = os.MkdirTemp(p.run, "make-"); err != nil {
		return nil, nil, err
	}
	release = func() { _ = os.RemoveAll(order.Scratch) }
	if made, err = maker.Make(ctx, order); err == nil {
		err = checkMade(maker, order, made)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return made, release, nil
}

// checkMade holds a Maker to what the check of the room went by.
func checkMade(maker Maker, order Order, made []MadeFile) error {
	names := map[string]bool{RecordFile: true}
	for _, file := range order.Set.Files {
		names[file.Name] = true
	}
	var total uint64
	for _, file := range made {
		info, err := os.Lstat(file.Path)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || !filepath.IsLocal(file.Name) || names[file.Name] {
			return sdk.Errorf(sdk.CodeInternal, "install", order.Plan.ID, "what was made has the file %q, which is no regular file, leads out, or has the name of another", file.Name)
		}
		names[file.Name] = true
		total += uint64(info.Size())
	}
	if files, bytes := maker.MadeRoom(order.Set); len(made) > files || total > bytes {
		return sdk.Errorf(sdk.CodeNoSpace, "install", order.Plan.ID, "what was made has %d files with %d bytes, and room was looked for %d with %d; nothing was written", len(made), total, files, bytes)
	}
	return nil
}

func (p *Plugin) copyMade(ctx context.Context, file MadeFile, target string) (InstalledFile, error) {
	source, err := os.Open(file.Path)
	if err != nil {
		return InstalledFile{}, err
	}
	defer source.Close()
	size, sum, err := p.copyTo(ctx, target, source)
	if err != nil {
		return InstalledFile{}, fmt.Errorf("cannot copy %s: %w", file.Name, err)
	}
	return InstalledFile{file.Role, file.Source, target, size, sum}, nil
}
