package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// fs answers as a filesystem plugin would, without one.
type fs struct{ *faulty }

func (f *fs) subvolume() sdk.Subvolume {
	s := sdk.Subvolume{Name: "snapshots/root", Identity: "256", Path: "/run/volume/snapshots/root"}
	switch f.behaviour {
	case "emptyidentity":
		s.Identity = ""
	case "relativepath":
		s.Path = "snapshots/root"
	case "uncleanpath":
		s.Path = "/run/volume/../../etc"
	}
	return s
}

func (f *fs) Volume(context.Context) (sdk.Volume, error) {
	v := sdk.Volume{Kind: "test", ID: "1234", TotalBytes: 100, FreeBytes: 50, MetadataFreeBytes: 50}
	if f.behaviour == "morefreethantotal" {
		v.FreeBytes = 101
	}
	return v, nil
}

func (f *fs) Prepare(ctx context.Context) error {
	f.record("prepare")
	return f.misbehave(ctx)
}

// List gives as many subvolumes as the setting level says, with long names.
func (f *fs) List(context.Context) ([]sdk.Subvolume, error) {
	n, _ := strconv.Atoi(f.setup.Settings["level"]) // was checked; 0 when not set
	list := make([]sdk.Subvolume, 0, n)
	for i := range n {
		list = append(list, sdk.Subvolume{Name: fmt.Sprintf("%s/%08d", strings.Repeat("x", 200), i), Identity: sdk.Identity(strconv.Itoa(i))})
	}
	return list, nil
}

func (f *fs) Lookup(ctx context.Context, name string) (sdk.Subvolume, error) {
	if err := f.misbehave(ctx); err != nil {
		return sdk.Subvolume{}, err
	}
	if name == "nothing" {
		return sdk.Subvolume{}, sdk.Errorf(sdk.CodeNotFound, "look up", name, "nobody has this name")
	}
	return f.subvolume(), nil
}

func (f *fs) Get(context.Context, sdk.Identity) (sdk.Subvolume, error) { return f.subvolume(), nil }

func (f *fs) Snapshot(context.Context, sdk.Identity, string, bool) (sdk.Subvolume, error) {
	return f.subvolume(), nil
}

func (f *fs) Rename(ctx context.Context, _ sdk.Identity, _ string) error { return f.misbehave(ctx) }

func (f *fs) Exchange(context.Context, string, sdk.Identity) error { return nil }

func (f *fs) Delete(context.Context, sdk.Identity) error { return nil }

func (f *fs) Seal(context.Context, sdk.Identity) error { return nil }

func (f *fs) Flush(context.Context) error { return nil }

func (f *fs) Default(context.Context) (sdk.Subvolume, error) { return f.subvolume(), nil }

func (f *fs) SetDefault(context.Context, sdk.Identity) error { return nil }

func (f *fs) KernelArguments(context.Context, sdk.Identity) ([]string, error) {
	if f.behaviour == "brokenarguments" {
		return []string{"root=a\ninit=/bin/sh"}, nil
	}
	return []string{"root=UUID=1234"}, nil
}

func (f *fs) Booted(context.Context, string) (sdk.Subvolume, error) { return f.subvolume(), nil }

func (f *fs) MountLine(context.Context, sdk.Identity, string) (string, error) {
	if f.behaviour == "brokenmountline" {
		return "none / tmpfs\nnone /etc tmpfs", nil
	}
	return "none /var none defaults 0 0", nil
}

func (f *fs) StateDirectory(context.Context) (string, error) {
	if f.behaviour == "relativepath" {
		return "state", nil
	}
	return "/run/volume/state", nil
}

func (f *fs) Changes(ctx context.Context, a, b sdk.Identity, emit func(sdk.Change) error) error {
	path := "etc/passwd"
	if f.behaviour == "escapingchange" {
		path = "../etc/passwd"
	}
	for {
		if err := emit(sdk.Change{Kind: sdk.ChangeModified, Path: path}); err != nil {
			f.record("emit failed")
			return err
		}
		if f.behaviour != "endless" {
			return f.misbehave(ctx)
		}
	}
}
