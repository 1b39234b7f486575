package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/bls"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

// Where systemd-boot reads its files on the EFI system partition.
const (
	sdbootConfig  = "loader/loader.conf"
	sdbootEntries = "loader/entries"
)

// sdbootLoader is systemd-boot, with kernels on the EFI system partition.
//
// Each entry has a file in loader/entries. The first sector of that says whether it
// is an entry at all and where it stands; systemd-boot boots the first one. So the
// default is changed with one sector, and so is a trial armed: it is a file of its own
// with a counter in its name, which stands before all others until systemd-boot,
// renaming it at each try, has counted it down to +0, which stands after all others.
// docs/decisions/0009-counting-tries.md has the reasons and the crash windows.
type sdbootLoader struct {
	volume    bootdir.Volume // with the kernels, and our entries
	esp       bootdir.Volume // with loader.conf; the same one here, not for xbootldrLoader
	variables variables
}

func (s *sdbootLoader) Name() string { return loaderSdboot }

// MaxTries is what the contract asks of a loader that counts; systemd-boot itself
// would count further.
func (s *sdbootLoader) MaxTries() int { return 9 }

func (s *sdbootLoader) entryPath(file string) string { return s.volume.Path(sdbootEntries, file) }

// Scripts gives none: an entry is its file in loader/entries. It is made here only to
// refuse what cannot be written before anything is.
func (s *sdbootLoader) Scripts(r bootdir.Record) (map[string]string, error) {
	for _, trial := range []bool{false, true} {
		entry, err := s.entry(r, trial)
		if err != nil {
			return nil, err
		}
		if _, err := entry.Format(bls.RankTrial); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (s *sdbootLoader) entry(r bootdir.Record, trial bool) (bls.Entry, error) {
	arguments, title := r.Arguments, r.Title
	if trial {
		arguments, title = slices.Concat(r.Arguments, r.TrialArguments), r.Title+" (trial)"
	}
	line, err := cmdline.Join(arguments)
	if err != nil {
		return bls.Entry{}, err
	}
	return bls.Entry{
		Title: title, Version: r.Version, Kernel: bootdir.EntryPath(r.ID, "vmlinuz"),
		Initrd: r.File(sdk.RoleInitrd), DeviceTree: r.OneDeviceTree(), CommandLine: line,
	}, nil
}

// Read does what systemd-boot does with what is on the disk.
func (s *sdbootLoader) Read(context.Context) (bootdir.Choice, error) {
	m, err := s.readMenu()
	if err != nil {
		return bootdir.Choice{}, err
	}
	return m.read(), nil
}

// Publish writes the entry's file, which is no entry yet unless it is one already.
func (s *sdbootLoader) Publish(ctx context.Context, r bootdir.Record) error {
	entry, err := s.entry(r, false)
	if err != nil {
		return err
	}
	path := s.entryPath(bls.FileName(r.ID))
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, ok := entry.Rank(old); !ok {
		if err := s.repairEntry(path, entry, bls.RankOf(bls.Parse(string(old)))); err != nil {
			return err
		}
	}
	m, err := s.readMenu()
	if err != nil {
		return err
	}
	if _, any := m.first(); !any {
		return nil // no default of ours that loader.conf could keep from being it
	}
	return s.writeConfig(m)
}

// repairEntry writes an entry's file that is not there or was changed by others. One
// that has a place keeps it, and is replaced as a whole.
func (s *sdbootLoader) repairEntry(path string, entry bls.Entry, rank bls.Rank) error {
	if rank == bls.RankOff {
		return s.writeEntry(path, entry, rank)
	}
	data, err := entry.Format(rank)
	if err != nil {
		return err
	}
	return s.volume.Replace(path, data)
}

// writeEntry writes an entry's file anew: first one that systemd-boot does not see,
// settled with all of its blocks, then its first sector.
func (s *sdbootLoader) writeEntry(path string, entry bls.Entry, rank bls.Rank) error {
	data, err := entry.Format(bls.RankOff)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := s.removeEntry(path); err != nil {
		return err
	}
	if err := durable.Create(path, data); err != nil {
		return err
	}
	if err := durable.SyncDirectory(filepath.Dir(path)); err != nil {
		return err
	}
	if err := s.volume.Settle(); err != nil {
		return err
	}
	return s.writeHead(path, entry, rank)
}

// writeHead overwrites the first sector of an entry's file, unless it is the same.
func (s *sdbootLoader) writeHead(path string, entry bls.Entry, rank bls.Rank) error {
	head, err := entry.Head(rank)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(old), string(head)) {
		return nil
	}
	return durable.Overwrite(path, 0, head)
}

// removeEntry takes away an entry's file. First its sector goes: a directory entry
// that is only half gone must not name blocks that say something.
func (s *sdbootLoader) removeEntry(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if head, err := (bls.Entry{}).Head(bls.RankOff); err != nil {
		return err
	} else if len(data) >= len(head) && bls.Parse(string(data)).Kernel != "" {
		if err := durable.Overwrite(path, 0, head); err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return durable.SyncDirectory(filepath.Dir(path))
}

// writeConfig makes loader.conf choose the first of our entries, whatever others
// there are. Without a loader.conf the same one is booted as long as no other stands
// before it, so nothing depends on the instant.
func (s *sdbootLoader) writeConfig(m menu) error {
	text := bls.SetDefault(m.config, bls.Pattern)
	if text == m.config {
		return nil
	}
	return s.esp.Replace(s.esp.Path(sdbootConfig), []byte(text))
}

// Withdraw removes every file of an entry, also those of its trials.
func (s *sdbootLoader) Withdraw(_ context.Context, id string) error {
	if err := s.removeTrials(func(name bls.Name) bool { return name.ID == id }); err != nil {
		return err
	}
	return s.removeEntry(s.entryPath(bls.FileName(id)))
}

// removeTrials removes the files of trials that are asked for.
func (s *sdbootLoader) removeTrials(which func(bls.Name) bool) error {
	m, err := s.readMenu()
	if err != nil {
		return err
	}
	for _, file := range m.files {
		if name, _ := bls.ParseName(file); (name.Trial || name.Left != bls.Uncounted) && which(name) {
			if err := s.removeEntry(s.entryPath(file)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Arm writes a file of its own for the trial. In between, the default boots.
func (s *sdbootLoader) Arm(ctx context.Context, id string, tries int) error {
	now, err := s.Read(ctx)
	if err != nil || now.Trial == id && now.TriesLeft == tries {
		return err
	}
	if err := comesBack(id, now); err != nil {
		return err
	}
	if err := s.Disarm(ctx); err != nil {
		return err
	}
	return s.writeTrial(id, bls.TrialName(id, tries), bls.RankTrial)
}

// comesBack refuses a trial where the default is not an entry of ours.
func comesBack(id string, now bootdir.Choice) error {
	if now.Default != "" {
		return nil
	}
	return sdk.Errorf(sdk.CodeUnsupported, "arm a trial of", id, "the default is %q, which is no entry of tbupdate, so that coming back is not sure; make one the default first (tbupdate init)", now.Foreign)
}

func (s *sdbootLoader) writeTrial(id, file string, rank bls.Rank) error {
	r, err := bootdir.ReadRecord(s.volume, id)
	if err != nil {
		return err
	}
	entry, err := s.entry(r, true)
	if err != nil {
		return err
	}
	return s.writeEntry(s.entryPath(file), entry, rank)
}

// Disarm removes trials, also those that are used up.
func (s *sdbootLoader) Disarm(context.Context) error {
	return s.removeTrials(func(name bls.Name) bool { return name.Left != bls.Uncounted })
}

// SetDefault puts the entry before all others with one sector. A trial of the same
// entry goes before that: in between, the former default boots. What systemd-bless-boot
// made a trial into, an entry without a counter that stands before all, goes after it.
func (s *sdbootLoader) SetDefault(ctx context.Context, id string) error {
	if err := s.removeTrials(func(name bls.Name) bool { return name.ID == id && name.Left != bls.Uncounted }); err != nil {
		return err
	}
	if err := s.putFirst(id); err != nil {
		return err
	}
	if err := s.removeTrials(func(name bls.Name) bool { return name.Left == bls.Uncounted }); err != nil {
		return err
	}
	return s.keepFirst()
}

// putFirst puts an entry before all others of ours.
func (s *sdbootLoader) putFirst(id string) error {
	rank, err := s.rankOfDefault(id)
	if err != nil {
		return err
	}
	r, err := bootdir.ReadRecord(s.volume, id)
	if err != nil {
		return err
	}
	entry, err := s.entry(r, false)
	if err != nil {
		return err
	}
	return s.writeHead(s.entryPath(bls.FileName(id)), entry, rank)
}

// keepFirst keeps entries of others behind ours.
func (s *sdbootLoader) keepFirst() error {
	m, err := s.readMenu()
	if err != nil {
		return err
	}
	return s.writeConfig(m)
}

// firstRank is that of the first default. Each later one stands before it, so that
// where the files of the default are gone, the one before boots.
const firstRank = 900000

// rankOfDefault gives the rank that makes an entry the first of ours.
func (s *sdbootLoader) rankOfDefault(id string) (bls.Rank, error) {
	m, err := s.readMenu()
	if err != nil {
		return 0, err
	}
	lowest, own := bls.Rank(firstRank+1), bls.RankOff
	for _, read := range m.ours() {
		name, _ := bls.ParseName(read.File)
		rank := bls.RankOf(read)
		if name.Trial || rank <= bls.RankTrial {
			continue
		}
		if lowest = min(lowest, rank); name.ID == id {
			own = rank
		}
	}
	if own == lowest {
		return own, nil
	}
	if lowest == 1 {
		return 0, fmt.Errorf("there is no place before the default in the order of %s", sdbootEntries)
	}
	return lowest - 1, nil
}

// CheckKernel refuses what firmware would not start: systemd-boot does not come back
// from that.
func (s *sdbootLoader) CheckKernel(image io.ReaderAt, size uint64) error {
	return kernelset.CheckWhole(image, size)
}

// Problem compares the entry's file with what it should be.
func (s *sdbootLoader) Problem(_ context.Context, r bootdir.Record) string {
	entry, err := s.entry(r, false)
	if err != nil {
		return err.Error()
	}
	file := bls.FileName(r.ID)
	data, err := os.ReadFile(s.entryPath(file))
	if err != nil {
		return err.Error()
	}
	if _, ok := entry.Rank(data); !ok {
		return fmt.Sprintf("%s/%s is not what tbupdate wrote", sdbootEntries, file)
	}
	return ""
}

// WorkingRoom counts an entry's file, that of a trial, and loader.conf old and new,
// in blocks of the biggest size that FAT has.
func (s *sdbootLoader) WorkingRoom() uint64 { return 4 * 32 << 10 }
