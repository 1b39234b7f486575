package update

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
)

// TrialBoot says what the running boot is to the trial in the journal.
type TrialBoot struct {
	// Generation is the one that runs on trial, nil when this boot is none.
	Generation *generation.Generation
	// Failed says why this boot was given up already, "" when it was not.
	Failed string
}

// IsTrialBoot reports whether a kernel command line is that of a trial's boot, and of
// which generation. It tells what was asked for: whether it is on trial still is in
// the journal.
func IsTrialBoot(commandLine string) (generation.ID, bool) {
	return generation.ID(cmdline.Value(commandLine, generationArgument)), cmdline.Value(commandLine, trialArgument) == "1"
}

// TrialBoot reads what this boot is. It changes nothing, and does not wait for an
// update that is in progress.
func (m *Machine) TrialBoot(ctx context.Context) (*TrialBoot, error) {
	s, err := m.open(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	return s.trialBoot(ctx)
}

func (s *session) trialBoot(ctx context.Context) (*TrialBoot, error) {
	// An apply whose end was not recorded is for Recover to finish first.
	if err := s.requireSettled(ctx); err != nil {
		return nil, explain(fmt.Errorf("cannot judge the trial: %w", err), nothingChanged)
	}
	trial := s.journal.Trial
	if trial == nil || s.Live() && trial.BootID == s.BootID {
		return &TrialBoot{}, nil
	}
	booted, _, err := s.booted(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	if booted == nil || booted.ID != trial.ID {
		return &TrialBoot{}, nil
	}
	found := &TrialBoot{Generation: booted}
	if boot := trial.Boot(s.BootID); boot != nil {
		found.Failed = boot.Failed
	}
	return found, nil
}

// recordBoot notes in the journal that the trial has come up, so that a boot which
// then hangs or crashes can be told from one that never came so far. It is one write:
// a crash leaves the note or none.
func (s *session) recordBoot() error {
	trial := s.journal.Trial
	if trial.Boot(s.BootID) != nil {
		return nil
	}
	trial.Boots = append(trial.Boots, generation.TrialBoot{BootID: s.BootID, At: s.Now().UTC()})
	return s.save()
}

// recordFailure notes why the running boot is given up, in one write.
func (s *session) recordFailure(reason string) error {
	trial := s.journal.Trial
	if trial.Boot(s.BootID) == nil {
		trial.Boots = append(trial.Boots, generation.TrialBoot{BootID: s.BootID, At: s.Now().UTC()})
	}
	trial.Boot(s.BootID).Failed = reason
	return s.save()
}

// lockAttempts and lockPause bound how long FailTrial waits for a command that
// changes the machine at the same moment.
const (
	lockAttempts = 20
	lockPause    = 500 * time.Millisecond
)

// FailTrial records why the running boot of the trial is given up. The caller reboots
// then: while the loader has tries left it tries again, else it comes back to the old
// pair, and Recover there makes the record the reason of the failure. It returns the
// trial as it is now: with no Generation when nothing is on trial any more (it was
// confirmed meanwhile), and then there is no reason to reboot. A boot that was given
// up before keeps its first reason.
//
// findings are files to keep with it, by name.
func (m *Machine) FailTrial(ctx context.Context, reason string, findings map[string][]byte) (*TrialBoot, error) {
	s, err := m.beginPatiently(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	ctx = context.WithoutCancel(ctx) // a signal does not save what has failed
	found, err := s.trialBoot(ctx)
	if err != nil || found.Generation == nil || found.Failed != "" {
		return found, err
	}
	// The reason comes first: power may go before anything else is kept, and then it
	// is what history has to say.
	s.note(stepRecord, func() { err = s.recordFailure(reason) })
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	found.Failed = reason
	s.note(stepEvidence, func() { s.keepRunning(ctx, findings) })
	return found, nil
}

// beginPatiently is begin for one who would rather wait than be told that another
// command runs.
func (m *Machine) beginPatiently(ctx context.Context) (*session, error) {
	for attempt := 1; ; attempt++ {
		s, err := m.begin(ctx)
		var e *Error
		if err == nil || attempt == lockAttempts || !errors.As(err, &e) || e.Class != InProgress {
			return s, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(lockPause):
		}
	}
}

// CheckRoot makes sure that what is mounted as / is the root that the kernel command
// line pins. Device numbers tell subvolumes apart: each has one of its own, wherever
// it is mounted.
func (m *Machine) CheckRoot(ctx context.Context) error {
	if !m.Live() {
		return nil // its / is not here
	}
	pinned, err := m.FS.Booted(ctx, m.CommandLine)
	if err != nil {
		return err
	}
	if pinned, err = m.FS.Get(ctx, pinned.Identity); err != nil {
		return err
	}
	want, err := deviceOf(pinned.Path)
	if err != nil {
		return err
	}
	have, err := deviceOf("/")
	if err != nil {
		return err
	}
	if have != want && !layered() {
		return fmt.Errorf("what is mounted as / is not %s, which the kernel command line pins", describe(pinned))
	}
	return nil
}

// layered reports whether / is an overlay, whose device number says nothing.
func layered() bool {
	var st syscall.Statfs_t
	const overlay = 0x794c7630 // OVERLAYFS_SUPER_MAGIC (linux/magic.h)
	return syscall.Statfs("/", &st) == nil && int64(st.Type) == overlay
}

func deviceOf(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("cannot tell the device of %s", path)
	}
	return uint64(st.Dev), nil
}
