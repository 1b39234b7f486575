package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Size is how large an update is in one way of making it. Seconds are of one run: the
// size is the same in each.
type Size struct {
	Measurement
	Bytes int64 `json:"bytes"`
}

// measureSizes makes the update in our ways, and in plain ones.
func measureSizes(ctx context.Context, s settings, scratch, oldTree, newTree string) ([]Size, error) {
	file := filepath.Join(scratch, "sized")
	shell := func(script string) []string {
		return []string{"bash", "-euc", script, "bash", s.tbdiff, oldTree, newTree, file}
	}
	const tar = `tar --sort=name --xattrs -C "$%d" -c .`
	var sizes []Size
	for _, way := range []side{
		{label: "tbdiff create", memory: true, command: []string{s.tbdiff, "create", "-o", file, oldTree, newTree}},
		{label: "tbdiff create --level fast", memory: true, command: []string{s.tbdiff, "create", "--level", "fast", "-o", file, oldTree, newTree}},
		{label: "tbdiff create --level small", memory: true, command: []string{s.tbdiff, "create", "--level", "small", "-o", file, oldTree, newTree}},
		{label: "tbdiff create --format v0 | zstd -19 -T0", command: shell(`"$1" create --format v0 -o - "$2" "$3" | zstd -q -19 -T0 -f -o "$4"`)},
		{label: "zstd -9 --long=30 --patch-from of tars", command: shell(fmt.Sprintf(tar, 2) + ` >"$4.old"; ` + fmt.Sprintf(tar, 3) + ` >"$4.new"
			zstd -q -9 --long=30 --patch-from="$4.old" "$4.new" -f -o "$4"; rm "$4.old" "$4.new"`)},
	} {
		size := Size{Measurement: Measurement{Command: way.label}}
		for _, warmUp := range []bool{true, false} {
			if err := way.runInto(ctx, &size.Measurement, warmUp); err != nil {
				return nil, err
			}
		}
		info, err := os.Stat(file)
		if err != nil {
			return nil, fmt.Errorf("cannot read the size of what %q made: %w", way.label, err)
		}
		size.Bytes = info.Size()
		sizes = append(sizes, size)
	}
	return sizes, nil
}
