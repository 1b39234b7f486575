package wire

import (
	pluginv1 "github.com/trebuchet-update/tbupdate/sdk/proto/v1"

	"github.com/trebuchet-update/tbupdate/sdk"
)

func toEntry(e sdk.Entry) *pluginv1.Entry {
	return &pluginv1.Entry{
		Id:             text(e.ID),
		Title:          []byte(e.Title),
		Root:           []byte(e.Root),
		Arguments:      toBytes(e.Arguments),
		TrialArguments: toBytes(e.TrialArguments),
	}
}

func fromEntry(e *pluginv1.Entry) sdk.Entry {
	return sdk.Entry{
		ID:             e.GetId(),
		Title:          string(e.GetTitle()),
		Root:           string(e.GetRoot()),
		Arguments:      fromBytes(e.GetArguments()),
		TrialArguments: fromBytes(e.GetTrialArguments()),
	}
}

func toKernelSet(k sdk.KernelSet) *pluginv1.KernelSet {
	return &pluginv1.KernelSet{
		Version: []byte(k.Version),
		Files:   convert(k.Files, toKernelFile),
		Bytes:   k.Bytes,
	}
}

func fromKernelSet(k *pluginv1.KernelSet) sdk.KernelSet {
	return sdk.KernelSet{
		Version: string(k.GetVersion()),
		Files:   convert(k.GetFiles(), fromKernelFile),
		Bytes:   k.GetBytes(),
	}
}

func toKernelFile(f sdk.KernelFile) *pluginv1.KernelFile {
	return &pluginv1.KernelFile{
		Role:   text(f.Role),
		Source: []byte(f.Source),
		Target: []byte(f.Target),
		Size:   f.Size,
		Sha256: text(f.SHA256),
	}
}

func fromKernelFile(f *pluginv1.KernelFile) sdk.KernelFile {
	return sdk.KernelFile{
		Role:   sdk.FileRole(f.GetRole()),
		Source: string(f.GetSource()),
		Target: string(f.GetTarget()),
		Size:   f.GetSize(),
		SHA256: f.GetSha256(),
	}
}

func toRoom(r sdk.Room) *pluginv1.Room {
	return &pluginv1.Room{Total: r.Total, Free: r.Free}
}

func fromRoom(r *pluginv1.Room) sdk.Room {
	return sdk.Room{Total: r.GetTotal(), Free: r.GetFree()}
}

func toBootState(s sdk.BootState) *pluginv1.BootState {
	return &pluginv1.BootState{
		Loader:    text(s.Loader),
		Entries:   convert(s.Entries, toInstalledEntry),
		Default:   text(s.Default),
		Foreign:   []byte(s.Foreign),
		Trial:     text(s.Trial),
		TriesLeft: int64(s.TriesLeft),
		Damage:    []byte(s.Damage),
	}
}

func fromBootState(s *pluginv1.BootState) sdk.BootState {
	return sdk.BootState{
		Loader:    s.GetLoader(),
		Entries:   convert(s.GetEntries(), fromInstalledEntry),
		Default:   s.GetDefault(),
		Foreign:   string(s.GetForeign()),
		Trial:     s.GetTrial(),
		TriesLeft: int(s.GetTriesLeft()),
		Damage:    string(s.GetDamage()),
	}
}

func toInstalledEntry(e sdk.InstalledEntry) *pluginv1.InstalledEntry {
	return &pluginv1.InstalledEntry{
		Id:          text(e.ID),
		Title:       []byte(e.Title),
		Kernel:      toKernelSet(e.Kernel),
		CommandLine: []byte(e.CommandLine),
		Problem:     []byte(e.Problem),
	}
}

func fromInstalledEntry(e *pluginv1.InstalledEntry) sdk.InstalledEntry {
	return sdk.InstalledEntry{
		ID:          e.GetId(),
		Title:       string(e.GetTitle()),
		Kernel:      fromKernelSet(e.GetKernel()),
		CommandLine: string(e.GetCommandLine()),
		Problem:     string(e.GetProblem()),
	}
}
