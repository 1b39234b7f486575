package main

import (
	"context"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// boot answers as a boot loader plugin would, without one.
type boot struct{ *faulty }

func (b *boot) kernelSet() sdk.KernelSet {
	k := sdk.KernelSet{Version: "6.1.0", Bytes: 4096, Files: []sdk.KernelFile{{
		Role: sdk.RoleKernel, Source: "boot/vmlinuz", Target: "1/vmlinuz", Size: 4096, SHA256: strings.Repeat("0", 64),
	}}}
	switch b.behaviour {
	case "nokernel":
		k.Files[0].Role = sdk.RoleInitrd
	case "escapingfile":
		k.Files[0].Target = "../etc/passwd"
	}
	return k
}

func (b *boot) Inspect(context.Context, string) (sdk.KernelSet, error) { return b.kernelSet(), nil }

func (b *boot) Room(context.Context) (sdk.Room, error) {
	if b.behaviour == "morefreethantotal" {
		return sdk.Room{Total: 1, Free: 2}, nil
	}
	return sdk.Room{Total: 2, Free: 1}, nil
}

func (b *boot) Install(context.Context, sdk.Entry) (sdk.KernelSet, error) { return b.kernelSet(), nil }

func (b *boot) Remove(context.Context, string) error { return nil }

func (b *boot) Arm(ctx context.Context, _ string, _ int) error { return b.misbehave(ctx) }

func (b *boot) Disarm(context.Context) error { return nil }

func (b *boot) SetDefault(context.Context, string) error { return nil }

func (b *boot) State(context.Context) (sdk.BootState, error) {
	s := sdk.BootState{Loader: "test", Default: "1", Entries: []sdk.InstalledEntry{{ID: "1", Kernel: b.kernelSet()}}}
	if b.behaviour == "unknowntrial" {
		s.Trial, s.TriesLeft = "2", 1
	}
	return s, nil
}

func (b *boot) Verify(context.Context, string) error { return nil }
