package update

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/trebuchet-update/tbupdate/core/evidence"
	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// evidenceDirectory is where evidence is kept, relative to the state directory.
const evidenceDirectory = "failed"

// keep keeps one piece of evidence of the trial, unless err says that it is not to be
// had. A machine without the program that would tell has nothing to tell.
func (s *session) keep(name string, content []byte, err error) {
	if err == nil {
		err = s.evidence.Keep(string(s.journal.Trial.ID), name, content)
	}
	if err != nil && !errors.Is(err, exec.ErrNotFound) {
		s.Reporter.Message(fmt.Sprintf("evidence is missing: %v", err))
	}
}

// keepRunning keeps what the running boot of the trial says of itself, and what its
// judge found. The names begin with the boot's number.
func (s *session) keepRunning(ctx context.Context, findings map[string][]byte) {
	trial := s.journal.Trial
	number := 1 + slices.IndexFunc(trial.Boots, func(b generation.TrialBoot) bool { return b.BootID == s.BootID })
	for _, name := range slices.Sorted(maps.Keys(findings)) {
		s.keep(fmt.Sprintf("%d-%s", number, name), findings[name], nil)
	}
	if s.Policy.Evidence == 0 {
		return
	}
	if s.Sources.KernelLog != "" {
		log, err := evidence.KernelLog(s.Sources.KernelLog)
		s.keep(fmt.Sprintf("%d-kernel.log", number), log, err)
	}
	if s.Sources.Journal {
		log, err := evidence.Journal(ctx, "", "")
		s.keep(fmt.Sprintf("%d-journal.log", number), log, err)
	}
}

// keepCrashes keeps what a crash of the trial left.
func (s *session) keepCrashes() {
	trial := s.journal.Trial
	if err := s.evidence.KeepCrashes(string(trial.ID), s.Sources.Crashes, trial.Crashes); err != nil {
		s.Reporter.Message(fmt.Sprintf("evidence is missing: %v", err))
	}
}

// failedBootsLimit bounds how long a start of the machine waits for the logs of the
// trial's boots.
const failedBootsLimit = 45 * time.Second

// keepFailedBoots keeps, on a later boot, what the boots of the trial left: of those
// that nobody gave up while they ran, since they crashed, hung or lost power.
func (s *session) keepFailedBoots(ctx context.Context) {
	if s.Policy.Evidence == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, failedBootsLimit)
	defer cancel()
	s.keepCrashes()
	trial := s.journal.Trial
	tree := s.trialTree(ctx)
	for i, boot := range trial.Boots {
		name := fmt.Sprintf("%d-journal.log", i+1)
		if boot.BootID == "" || s.hasEvidence(name) {
			continue
		}
		// It logged into its own tree, or into one that all generations share.
		// Where neither has it, it was lost with that boot.
		var log []byte
		if tree != "" {
			log, _ = evidence.Journal(ctx, filepath.Join(tree, "var/log/journal"), boot.BootID)
		}
		if len(log) == 0 && s.Sources.Journal {
			log, _ = evidence.Journal(ctx, "", boot.BootID)
		}
		s.keep(name, log, nil)
	}
	if tree == "" {
		return
	}
	logs, err := evidence.Logs(tree, s.Policy.Evidence)
	if err != nil {
		s.keep("logs", nil, err)
	}
	for _, name := range slices.Sorted(maps.Keys(logs)) {
		s.keep("log-"+path.Base(name), logs[name], nil)
	}
}

// trialTree gives the path of the tree that the trial ran from, "" when it is gone.
func (s *session) trialTree(ctx context.Context) string {
	g := s.journal.Find(s.journal.Trial.ID)
	root, err := s.FS.Get(ctx, g.Root)
	if err != nil {
		return ""
	}
	return root.Path
}

func (s *session) hasEvidence(name string) bool {
	files, err := s.evidence.List(string(s.journal.Trial.ID))
	return err == nil && slices.ContainsFunc(files, func(f evidence.File) bool { return f.Name == name })
}

// reasonOfFailure says in a clause why the trial did not succeed, from what its boots
// recorded, what a crash left, and what the boot loader says of it. back is what was
// booted instead.
func (s *session) reasonOfFailure(back string, state sdk.BootState) string {
	trial := s.journal.Trial
	left := 0
	if state.Trial == string(trial.ID) {
		left = state.TriesLeft
	}
	// A loader that counts otherwise than it was asked to does not make this wrong.
	used := max(trial.Tries-left, len(trial.Boots))
	if left > 0 && used == 0 {
		return back + " was booted while the trial was still armed: the boot loader did not try it"
	}
	reason := strings.Join(s.reasonsOfBoots(back, used), "; ")
	switch {
	case left > 0 && used < trial.Tries:
		return fmt.Sprintf("%s was booted after %d of %d tries: %s", back, used, trial.Tries, reason)
	case trial.Tries > 1:
		return fmt.Sprintf("%s (after %d tries)", reason, used)
	}
	return reason
}

// reasonsOfBoots gives what is known of each of the boots that the trial had, each
// reason once.
func (s *session) reasonsOfBoots(back string, used int) []string {
	var reasons []string
	unexplained, cameUp := used, false
	for _, boot := range s.journal.Trial.Boots {
		if boot.Failed == "" {
			cameUp = true
			continue
		}
		unexplained--
		if !slices.Contains(reasons, boot.Failed) {
			reasons = append(reasons, boot.Failed)
		}
	}
	if unexplained <= 0 {
		return reasons
	}
	crash := s.evidence.CrashLine(string(s.journal.Trial.ID))
	switch {
	case crash != "":
		reasons = append(reasons, "the kernel crashed: "+crash)
	case cameUp:
		reasons = append(reasons, fmt.Sprintf("the boot loader came back to %s: the trial came up, and then hung, crashed or lost power", back))
	default:
		reasons = append(reasons, fmt.Sprintf("the boot loader came back to %s: the trial boot did not succeed", back))
	}
	return reasons
}

// Evidence names what is kept of a failed generation.
type Evidence struct {
	Generation generation.Generation
	Files      []evidence.File
}

// Evidence lists what is kept of a failed generation: of the latest one that anything
// is kept of where id is "".
func (m *Machine) Evidence(ctx context.Context, id generation.ID) (*Evidence, error) {
	s, err := m.open(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	if id != "" {
		g, err := s.findGeneration(id)
		if err != nil {
			return nil, explain(err, nothingChanged)
		}
		files, err := s.evidence.List(string(g.ID))
		return &Evidence{Generation: *g, Files: files}, explain(err, nothingChanged)
	}
	for _, g := range slices.Backward(s.journal.Generations) {
		files, err := s.evidence.List(string(g.ID))
		if err != nil {
			return nil, explain(err, nothingChanged)
		}
		if len(files) > 0 {
			return &Evidence{Generation: g, Files: files}, nil
		}
	}
	return &Evidence{}, nil
}

// EvidenceFile gives the content of one file that is kept of a failed generation.
func (m *Machine) EvidenceFile(ctx context.Context, id generation.ID, name string) ([]byte, error) {
	s, err := m.open(ctx)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	g, err := s.findGeneration(id)
	if err != nil {
		return nil, explain(err, nothingChanged)
	}
	content, err := s.evidence.Read(string(g.ID), name)
	return content, explain(err, nothingChanged)
}
