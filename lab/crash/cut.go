package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/trebuchet-update/tbupdate/lab/powercut"
)

// begin records the workload on the machine's disk, and gives what a loss of power could have left of it.
func (w workload) begin(ctx context.Context, m *machine, o Options) (happening, error) {
	if err := m.prepare(ctx, w, o.Seed); err != nil {
		return happening{}, fmt.Errorf("cannot prepare the machine: %w", err)
	}
	r, err := m.record(ctx, w.act, "act")
	if err != nil {
		return happening{}, fmt.Errorf("cannot record it: %w", err)
	}
	h := happening{end: r.close}
	for _, state := range r.log.States(o.Torn, o.Seed) {
		cut := m.way(state.String(), func(_ context.Context, m *machine) ([]string, error) {
			return w.allowed, r.replay.Make(state, m.image)
		})
		cut.torn = state.Seed != 0
		h.ways = append(h.ways, cut)
	}
	return h, nil
}

// prepare brings the machine to where the workload begins.
func (m *machine) prepare(ctx context.Context, w workload, seed uint64) error {
	err := attached(m.image, func(d *disk) error { return play(ctx, m, d, append([]step{starts}, w.prepare...)) })
	if err != nil || w.interrupted == nil {
		return err
	}
	r, err := m.record(ctx, w.interrupted, "interrupted")
	if err != nil {
		return err
	}
	state := powercut.State{Entries: int(w.after * float64(len(r.log.Entries))), Seed: seed + 1}
	m.image = filepath.Join(m.work, "interrupted-disk")
	if err := errors.Join(r.replay.Make(state, m.image), r.close()); err != nil {
		return err
	}
	return attached(m.image, func(d *disk) error { return starts(ctx, m, d) })
}

// recorded is what a step did to a disk.
type recorded struct {
	log    *powercut.Log
	replay *powercut.Replay
}

func (r *recorded) close() error { return errors.Join(r.log.Close(), r.replay.Close()) }

// record has a step done on the disk. name is for its files.
func (m *machine) record(ctx context.Context, act step, name string) (*recorded, error) {
	base, directory := filepath.Join(m.work, name+"-base"), filepath.Join(m.work, name)
	if err := copyDisk(ctx, m.image, base); err != nil {
		return nil, err
	}
	if err := os.Mkdir(directory, 0o700); err != nil {
		return nil, err
	}
	recording, err := powercut.Record(ctx, m.image, directory)
	if err != nil {
		return nil, err
	}
	err = attached(recording.Path, func(d *disk) error { return act(ctx, m, d) })
	if err := errors.Join(err, recording.Stop()); err != nil {
		return nil, err
	}
	log, err := recording.Log()
	if err != nil {
		return nil, err
	}
	log.Btrfs(rootStart)
	replay, err := log.NewReplay(base)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return &recorded{log, replay}, nil
}
