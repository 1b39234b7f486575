package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/trebuchet-update/tbupdate/lab/listing"
	"github.com/trebuchet-update/tbupdate/lab/machine"
	"github.com/trebuchet-update/tbupdate/lab/powercut"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// recording is what reached a machine's disk.
type recording struct {
	directory string
	scratch   *powercut.Scratch
	base, log string                       // the disk as it was before, and what reached it since
	delivered map[string]map[string]string // what is in a release, by version, as far as that was asked for
}

func newRecording(ctx context.Context, m *machine.Machine) (_ *recording, err error) {
	directory, err := os.MkdirTemp("", "lab-record-")
	if err != nil {
		return nil, err
	}
	top := filepath.Join(directory, "scratch")
	r := &recording{directory: directory, base: filepath.Join(top, "base"), log: filepath.Join(top, "log"), delivered: map[string]map[string]string{}}
	if err = os.Mkdir(top, 0o700); err == nil {
		if r.scratch, err = powercut.NewScratch(ctx, top+".img", top); err == nil {
			if err = m.CopyDisk(ctx, r.base); err == nil {
				err = m.Record(0, r.log)
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *recording) close() error {
	if r.scratch != nil {
		if err := r.scratch.Close(); err != nil {
			return err // and what is mounted there stays
		}
	}
	return os.RemoveAll(r.directory)
}

func (p *player) off(*testscript.TestScript, []string) error {
	ctx, cancel := p.within(eventLimit)
	defer cancel()
	return p.machine.PowerOff(ctx)
}

func (p *player) record(*testscript.TestScript, []string) (err error) {
	if p.recording != nil {
		return errors.New("something is recorded already")
	}
	p.recording, err = newRecording(p.ctx, p.machine)
	return err
}

// How many torn states there are for each gap between two flushes, and where their seeds begin.
const (
	tornStates = 1
	firstSeed  = 1
)

func (p *player) states(ts *testscript.TestScript, words []string) error {
	if len(words) < 2 {
		return errors.New("usage: states N VERSION…")
	}
	booted, err := strconv.Atoi(words[0])
	if err != nil {
		return err
	}
	if p.recording == nil || p.machine.On() {
		return errors.New("nothing was recorded, or it is not off yet")
	}
	log, err := powercut.OpenLog(p.recording.log)
	if err != nil {
		return err
	}
	defer log.Close()
	log.Btrfs(p.machine.Partitions[2].Start)
	replay, err := log.NewReplay(p.recording.base)
	if err != nil {
		return err
	}
	defer replay.Close()
	states := log.States(tornStates, firstSeed)
	sample := map[int]bool{} // the first and the last, and those between at equal distances
	for i := range booted {
		sample[i*(len(states)-1)/max(booted-1, 1)] = true
	}
	for i, state := range states {
		disk := filepath.Join(p.recording.scratch.Directory, "state")
		if err := replay.Make(state, disk); err != nil {
			return err
		}
		err := p.whole(disk)
		if err == nil && sample[i] {
			p.result.Booted++
			err = p.goesOn(ts, disk, words[1:])
		}
		if err != nil {
			return fmt.Errorf("state %s of %d, seeds from %d: %w", state, len(log.Entries), firstSeed, err)
		}
		p.result.States++
		if err := os.Remove(disk); err != nil {
			return err
		}
	}
	ts.Logf("%d states, of which %d were booted", p.result.States, p.result.Booted)
	return nil
}

// whole sees whether the filesystems of a disk can be mounted, and the roots that nobody changes are as they
// were delivered.
func (p *player) whole(disk string) error {
	loop, err := loopback.Attach(disk)
	if err != nil {
		return err
	}
	boot, root := p.machine.Partitions[1], p.machine.Partitions[2]
	device, err := loop.AddPartition(2, boot.Start, boot.Size)
	if err == nil {
		err = loopback.Mounted(device, loopback.Ext4, func(string) error { return nil })
	}
	if err == nil {
		if device, err = loop.AddPartition(3, root.Start, root.Size); err == nil {
			err = loopback.Mounted(device, loopback.Btrfs, p.rootsWhole, "subvolid=5")
		}
	}
	return errors.Join(err, loop.Detach())
}

// rootsWhole looks at every subvolume of the layout but that in which an update is deployed. Names may be missing
// while they move: what boots is pinned by what it is.
func (p *player) rootsWhole(volume string) error {
	snapshots := filepath.Join(volume, "snapshots")
	entries, err := os.ReadDir(snapshots)
	if err != nil {
		return err
	}
	seen := 0
	for _, entry := range entries {
		if entry.Name() == "new" {
			continue
		}
		if err := p.rootWhole(filepath.Join(snapshots, entry.Name())); err != nil {
			return fmt.Errorf("the subvolume %q: %w", entry.Name(), err)
		}
		seen++
	}
	if seen == 0 {
		return errors.New("there is no root")
	}
	return nil
}

// rootWhole compares a root with the release that it says it is.
func (p *player) rootWhole(root string) error {
	text, err := os.ReadFile(filepath.Join(root, "etc/os-release"))
	if err != nil {
		return err
	}
	_, version, _ := strings.Cut(string(text), "IMAGE_VERSION=")
	version, _, _ = strings.Cut(version, "\n")
	wanted, err := p.delivered(strings.Trim(version, `"`))
	if err != nil {
		return err
	}
	got, err := listing.Of(root)
	if err != nil {
		return err
	}
	if found := listing.Differences(wanted, got); len(found) > 0 {
		return fmt.Errorf("of version %s, is not whole: %s", version, listing.Few(found))
	}
	return nil
}

// delivered lists what is in a release.
func (p *player) delivered(version string) (map[string]string, error) {
	if lines, ok := p.recording.delivered[version]; ok {
		return lines, nil
	}
	want, err := p.releaseOf(version)
	if err != nil {
		return nil, err
	}
	tree, err := p.machine.Releases.Tree(p.ctx, want)
	if err != nil {
		return nil, err
	}
	lines, err := listing.Of(tree)
	p.recording.delivered[version] = lines
	return lines, err
}

// goesOn boots a disk: it runs one of the versions, as a whole, a second recover changes nothing, and
// the next update goes through.
func (p *player) goesOn(ts *testscript.TestScript, disk string, allowed []string) (err error) {
	m, err := p.workshop.New(p.ctx, p.it.Platform, machine.Options{Disk: disk, Variables: p.machine.Variables()})
	if err != nil {
		return err
	}
	q := &player{ctx: p.ctx, workshop: p.workshop, it: p.it, result: p.result, machine: m, known: p.known}
	defer func() {
		if err != nil {
			ts.Logf("the console:\n%s", m.Console.Last(100))
		}
		err = errors.Join(err, m.Close())
	}()
	if err := m.PowerOn(); err != nil {
		return err
	}
	if err := q.up(); err != nil {
		return err
	}
	runs := q.running.Version
	if q.running.Trial {
		runs += ":trial"
	}
	if !slices.Contains(allowed, runs) {
		return fmt.Errorf("it runs %s, and should run %s", runs, strings.Join(allowed, " or "))
	}
	if err := q.judge(q.running.Version, q.running.Trial); err != nil {
		return err
	}
	if err := q.confirmed(ts, nil); err != nil {
		return err
	}
	before, err := q.readStatus()
	if err != nil {
		return err
	}
	command, err := q.applying([]string{"good", "--force"})
	if err != nil {
		return err
	}
	for _, command := range []string{"tbupdate recover", "tbupdate check", command} {
		if command == "tbupdate check" {
			after, err := q.readStatus()
			if err != nil {
				return err
			}
			if err := expect("the status after a second recover", before, after); err != nil {
				return err
			}
		}
		if _, err := m.Shell(p.ctx, command); err != nil {
			return err
		}
	}
	if err := q.reboot(ts, nil); err != nil {
		return err
	}
	next := q.running.Version
	if err := q.up(); err != nil {
		return err
	}
	if q.running.Version == next || !q.running.Trial {
		return fmt.Errorf("after the next update it runs %s", q.running.Version)
	}
	return q.confirmed(ts, nil)
}
