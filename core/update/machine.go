// Package update is the workflow: it takes an installed system into the layout,
// applies updates, confirms them, rolls back, recovers after a crash, collects what
// is no longer needed, and says how things stand.
//
// It is policy only. What a snapshot is, and how a boot loader is told what to
// boot, is the business of the two plugins behind sdk.FS and sdk.Boot; what goes
// into a tree is written by package rootfs.
//
// # How a crash is survived
//
// Every operation is a list of steps. The journal names the step that is about to
// be taken before it is taken; every step can be repeated, and undone. Up to the
// last step nothing has changed for the next boot: the loader's default is the old
// pair of kernel and root, pinned by the root's identity, whatever names move
// meanwhile. The last step is one write of the boot loader, the switch. After a
// crash, Recover asks the boot loader whether the switch was made: if so it
// finishes the operation, if not it undoes it.
package update

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/trebuchet-update/tbupdate/core/bundle"
	"github.com/trebuchet-update/tbupdate/core/evidence"
	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
	"github.com/trebuchet-update/tbupdate/sdk/process"
)

// Machine is one machine, or the disks of one, with all that the workflow needs.
type Machine struct {
	FS         sdk.FS
	Boot       sdk.Boot
	FSPlugin   sdk.Description
	BootPlugin sdk.Description
	Policy     Policy
	System     System
	// Trust says whose bundles are accepted.
	Trust bundle.Trust
	// Updater is the version of the updater; "" is not known, and new enough.
	Updater string

	// CommandLine is the kernel command line that says what was booted.
	CommandLine string
	// BootID tells one boot of this machine from another (the kernel's
	// random/boot_id). It is "" when the disks are not those that the running
	// system was booted from.
	BootID string

	// Sources say where evidence of a trial that fails is to be had.
	Sources Sources

	// Inspect, where it is set, adds findings to those of Check.
	Inspect func(context.Context) []sdk.Finding

	Reporter Reporter
	Now      func() time.Time

	// Workers are the plugins, where they are processes.
	Workers generation.Workers

	// lock is the right to change the machine; nil until it is taken.
	lock *generation.Lock
}

// Sources are where evidence of failed trials comes from. The zero value has none:
// that is right for disks that the running system was not booted from.
type Sources struct {
	KernelLog string   // the kernel's log, "/dev/kmsg"
	Journal   bool     // whether journalctl speaks of this machine
	Crashes   []string // directories, as package evidence lists them
}

// Live reports whether the disks are those that the running system was booted
// from.
func (m *Machine) Live() bool { return m.BootID != "" }

// Policy is what the operator configured.
type Policy struct {
	Tries int // boots that a trial gets, at least 1
	Keep  int // good generations to keep, the running one counted, at least 1
	// Arguments are the kernel arguments of every generation, without those that
	// pin the root; nil takes them from the new tree or from what was booted.
	Arguments *string
	// TrialArguments are added for a trial boot only.
	TrialArguments string
	// Evidence bounds each file that is kept of a failed trial, in bytes; 0 keeps
	// none.
	Evidence int64
}

// Reporter is told what happens, as it happens.
type Reporter interface {
	// Step is called three times for each step: when its intent is in the
	// journal, when it was acted out, and when its result is in the journal.
	Step(kind generation.OperationKind, step Step, phase Phase)
	// Progress says how many bytes of the payload were read; total is -1 when it
	// is not known.
	Progress(read, total int64)
	// Message is a sentence for people.
	Message(text string)
}

// Phase is how far a step has come.
type Phase string

// The phases of a step.
const (
	Intended Phase = "intended"
	Acted    Phase = "acted"
	Recorded Phase = "recorded"
)

// session is the journal, opened for one command.
type session struct {
	*Machine
	store    *generation.Store
	evidence *evidence.Store
	journal  *generation.Journal
}

// open reads the journal without the right to change anything.
func (m *Machine) open(ctx context.Context) (*session, error) {
	directory, err := m.FS.StateDirectory(ctx)
	if errors.Is(err, sdk.ErrNotFound) {
		return nil, &Error{Class: Unclear, Err: fmt.Errorf("cannot find the updater's state on %s: %w", m.FSPlugin.Name, errNotTakenIn), State: nothingChanged}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot find the state directory: %w", err)
	}
	store := generation.NewStore(directory)
	journal, err := store.Load()
	if err != nil {
		return nil, &Error{Class: Unclear, Err: err, State: journalDamaged}
	}
	kept := evidence.NewStore(filepath.Join(directory, evidenceDirectory), m.Policy.Evidence)
	return &session{Machine: m, store: store, evidence: kept, journal: journal}, nil
}

// errNotTakenIn says that there was no init yet.
var errNotTakenIn = errors.New(`the system was not taken into the layout; run "tbupdate init"`)

// requireLayout makes sure that the machine was taken into the layout, or that this
// is under way. A journal that somebody removed is told from one that never was by
// what else there is.
func (s *session) requireLayout(ctx context.Context) error {
	if s.journal.Roles.Root != "" || s.journal.Operation != nil {
		return nil
	}
	subvolumes, err := s.FS.List(ctx)
	if err != nil {
		return err
	}
	for _, subvolume := range subvolumes {
		if looksLikeGeneration(subvolume.Name) {
			return &Error{Class: Unclear, State: journalDamaged,
				Err: fmt.Errorf("cannot find the journal, and there is the generation %s", subvolume.Name)}
		}
	}
	return &Error{Class: Unclear, Err: errNotTakenIn, State: nothingChanged}
}

// requireSettled makes sure that the machine is in the layout and nothing is in
// flight.
func (s *session) requireSettled(ctx context.Context) error {
	if op := s.journal.Operation; op != nil {
		return refusal(Unclear, "an earlier %s was cut short in the step %q; run \"tbupdate recover\"", op.Kind, op.Step)
	}
	return s.requireLayout(ctx)
}

// begin takes the right to change the machine, which is held until Release, and reads
// the journal.
func (m *Machine) begin(ctx context.Context) (*session, error) {
	directory, err := m.FS.StateDirectory(ctx)
	if err != nil {
		return m.open(ctx) // says what is wrong
	}
	if m.lock == nil {
		m.lock, err = generation.NewStore(directory).Lock()
	}
	if errors.Is(err, generation.ErrLocked) {
		return nil, &Error{Class: InProgress, Err: err, State: "It goes on undisturbed; nothing was changed by this command."}
	}
	if err != nil {
		return nil, err
	}
	s, err := m.open(ctx)
	if err != nil {
		return nil, err
	}
	return s, s.requireNobodyAtWork(ctx)
}

// Plugins of an updater that was killed end soon, unless they are in a long call.
const (
	workersGrace = 5 * time.Second
	workersPause = 50 * time.Millisecond
)

// requireNobodyAtWork makes sure that the plugins of an updater that was killed have ended
// what they were doing for the operation in flight. The lock does not tell: the kernel
// gave it back.
func (s *session) requireNobodyAtWork(ctx context.Context) error {
	op := s.journal.Operation
	if op == nil || op.Workers.BootID != s.Workers.BootID {
		return nil
	}
	for limit := time.Now().Add(workersGrace); ; {
		worker, err := s.workerOf(op)
		if err != nil {
			return fmt.Errorf("cannot tell whether anybody is at work for the operation in flight: %w", err)
		}
		if worker == "" {
			return nil
		}
		if time.Now().After(limit) {
			return &Error{Class: InProgress, State: nothingChanged,
				Err: fmt.Errorf("the updater that began the %s was killed, and a plugin of it (process %d) is not done yet", op.Kind, worker.PID())}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(workersPause):
		}
	}
}

// workerOf gives a process of another updater that is at work for the operation, "" where
// there is none.
func (s *session) workerOf(op *generation.Operation) (process.Mark, error) {
	for _, worker := range op.Workers.Processes {
		works, err := worker.Works()
		if err != nil || works && !slices.Contains(s.Workers.Processes, worker) {
			return worker, err
		}
	}
	return "", nil
}

// Release gives back the right to change the machine, which the methods that change it
// take. The caller waits with it for the end of a plugin that hung in a change: that may go
// on, and what another command found or did meanwhile would not hold.
func (m *Machine) Release() {
	if m.lock != nil {
		_ = m.lock.Unlock()
		m.lock = nil
	}
}

// save writes the journal.
func (s *session) save() error {
	if op := s.journal.Operation; op != nil {
		op.Workers = s.Workers
	}
	return s.store.Save(s.journal)
}

// booted gives the generation whose writable copy was booted, nil when what was
// booted is none of ours, and the subvolume itself.
func (s *session) booted(ctx context.Context) (*generation.Generation, sdk.Subvolume, error) {
	subvolume, err := s.FS.Booted(ctx, s.CommandLine)
	if err != nil {
		err = fmt.Errorf("cannot tell what was booted: %w", err)
		if classify(err) == BadPlugin {
			return nil, sdk.Subvolume{}, err // that says nothing of what was booted
		}
		return nil, sdk.Subvolume{}, &Error{Class: Unclear, Err: err, State: nothingChanged}
	}
	g := s.journal.FindRoot(subvolume.Identity)
	named := cmdline.Value(s.CommandLine, generationArgument)
	if g != nil && named != "" && named != string(g.ID) {
		return nil, subvolume, &Error{Class: Unclear, State: nothingChanged,
			Err: fmt.Errorf("cannot judge what was booted: the kernel is that of generation %s and the root that of generation %s", named, g.ID)}
	}
	return g, subvolume, nil
}

// record adds an event to the history. A history that cannot be written is
// reported and stops nothing.
func (s *session) record(kind generation.OperationKind, g generation.Generation, result, reason string) {
	event := generation.Event{
		Time: s.Now().UTC(), Kind: kind, Generation: g.ID, Version: g.Version, Result: result, Reason: reason,
	}
	if files, err := s.evidence.List(string(g.ID)); err == nil && len(files) > 0 {
		event.Evidence = evidenceDirectory + "/" + string(g.ID)
	}
	err := s.store.AppendEvent(event)
	if err != nil {
		s.Reporter.Message(err.Error())
	}
}
