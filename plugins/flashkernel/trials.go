package main

import (
	"context"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/envimage"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
)

// trials is where the trial and its count are kept.
type trials interface {
	// read gives the trial that U-Boot would find, and every id that is named as one
	// with starts left, also in a copy that U-Boot does not come to.
	read(ctx context.Context) (now chooser.Trial, named []string, err error)
	// write changes it. The last write that matters is one that takes effect at once.
	write(ctx context.Context, trial chooser.Trial) error
	check(ctx context.Context) ([]sdk.Finding, error)
}

// fileTrials are two files on a filesystem that U-Boot can write.
type fileTrials struct {
	directory string
	layout    envimage.Layout
}

func (f fileTrials) copies() copies {
	return copies{
		paths:  [2]string{filepath.Join(f.directory, chooser.TrialA), filepath.Join(f.directory, chooser.TrialB)},
		create: createAnew,
		whole: func(data []byte) bool {
			_, err := chooser.ParseTrial(data, f.layout)
			return err == nil
		},
	}
}

func (f fileTrials) read(context.Context) (now chooser.Trial, named []string, err error) {
	found, err := f.copies().read()
	if err != nil { // U-Boot cannot read it either, and boots the default
		return chooser.Trial{}, nil, nil
	}
	first := true
	for _, data := range found {
		if data == nil {
			continue
		}
		trial, err := chooser.ParseTrial(data, f.layout)
		if err != nil {
			return chooser.Trial{}, nil, err
		}
		if first {
			now, first = trial, false
		}
		if trial.Left() > 0 {
			named = append(named, trial.ID)
		}
	}
	return now, named, nil
}

func (f fileTrials) write(_ context.Context, trial chooser.Trial) error {
	data, err := trial.Bytes(f.layout)
	if err != nil {
		return err
	}
	return f.copies().write(data)
}

// noTrials stands for a place that cannot be found.
type noTrials struct{ reason error }

func (noTrials) read(context.Context) (now chooser.Trial, named []string, err error) {
	return chooser.Trial{}, nil, nil
}

func (n noTrials) write(_ context.Context, trial chooser.Trial) error {
	if trial.ID == "" {
		return nil // U-Boot does not find one either
	}
	return n.reason
}

func (n noTrials) check(context.Context) ([]sdk.Finding, error) {
	return []sdk.Finding{bootdir.Blocking("the count of trials", "mount the FAT filesystem on which U-Boot is to count, and set state", "%v", n.reason)}, nil
}

// check looks at what U-Boot would write.
func (f fileTrials) check(context.Context) ([]sdk.Finding, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(f.directory, &stat); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: f.directory, Err: err}
	}
	var findings []sdk.Finding
	if stat.Flags&unix.ST_RDONLY != 0 {
		findings = append(findings, bootdir.Blocking(f.directory, "mount -o remount,rw "+f.directory, "it is mounted read-only"))
	}
	if stat.Type != unix.MSDOS_SUPER_MAGIC {
		findings = append(findings, bootdir.Blocking(f.directory, "mount the FAT filesystem there", "it is no FAT filesystem, and U-Boot writes no other"))
	}
	return findings, nil
}
