package update

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// checkAttempts bounds how often Check looks again because something moved meanwhile.
const checkAttempts = 5

// Check finds out whether this machine can be updated and rolled back: everything
// that the layout asks for and that the plugins know. Blocking findings come
// first. With verifyFull the generations' trees are read as a whole. It changes nothing, and does not wait for an update that is in progress:
// what it saw while names moved would be neither one thing nor the other, so it
// looks again, and says only that something is under way where that goes on.
func (m *Machine) Check(ctx context.Context, verifyFull bool) ([]sdk.Finding, error) {
	var findings []sdk.Finding
	var err error
	for attempt := 1; attempt <= checkAttempts; attempt++ {
		before := m.snapshotOfJournal(ctx)
		findings, err = m.checkOnce(ctx, verifyFull)
		if bytes.Equal(before, m.snapshotOfJournal(ctx)) {
			break
		}
	}
	if err != nil {
		return nil, explain(fmt.Errorf("cannot check the machine: %w", err), nothingChanged)
	}
	for i := range findings {
		findings[i].Problem = sentence(findings[i].Problem)
	}
	gravity := map[sdk.Severity]int{sdk.SeverityBlocking: 0, sdk.SeverityWarning: 1, sdk.SeverityNote: 2}
	slices.SortStableFunc(findings, func(a, b sdk.Finding) int { return cmp.Compare(gravity[a.Severity], gravity[b.Severity]) })
	return findings, nil
}

// snapshotOfJournal gives the journal as bytes, nil where there is none: it changes
// with every step of every operation.
func (m *Machine) snapshotOfJournal(ctx context.Context) []byte {
	s, err := m.open(ctx)
	if err != nil {
		return nil
	}
	document, _ := generation.Encode(s.journal)
	return document
}

// checkOnce gathers all findings.
func (m *Machine) checkOnce(ctx context.Context, verifyFull bool) ([]sdk.Finding, error) {
	s, openErr := m.open(ctx)
	if openErr == nil && s.journal.Operation != nil {
		return s.checkOperation(), nil
	}
	var findings []sdk.Finding
	for _, plugin := range []sdk.Plugin{m.FS, m.Boot} {
		found, err := plugin.Check(ctx)
		if err != nil {
			return nil, err
		}
		findings = append(findings, found...)
	}
	if m.Inspect != nil {
		findings = append(findings, m.Inspect(ctx)...)
	}
	var unclear *Error
	switch {
	case errors.As(openErr, &unclear) && unclear.Class == Unclear:
		return append(findings, layoutFinding(unclear)), nil
	case openErr != nil:
		return nil, openErr
	}
	found, err := s.check(ctx)
	findings = append(findings, found...)
	if err == nil && verifyFull {
		found, err = s.checkTrees(ctx)
		findings = append(findings, found...)
	}
	return findings, err
}

// check gathers the findings of the layout.
func (s *session) check(ctx context.Context) ([]sdk.Finding, error) {
	var unclear *Error
	if err := s.requireLayout(ctx); errors.As(err, &unclear) {
		return []sdk.Finding{layoutFinding(unclear)}, nil
	} else if err != nil {
		return nil, err
	}
	var findings []sdk.Finding
	for _, part := range []func(context.Context) ([]sdk.Finding, error){
		s.checkNames, s.checkBooted, s.checkEntries, s.checkGenerations, s.checkStrangers, s.checkNextRoom, s.checkWritten,
	} {
		found, err := part(ctx)
		if err != nil {
			return nil, err
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

// layoutFinding is what Check says where there is no journal to go by.
func layoutFinding(err *Error) sdk.Finding {
	remedy := err.State
	if errors.Is(err, errNotTakenIn) {
		remedy = "tbupdate init"
	}
	return sdk.Finding{Severity: sdk.SeverityBlocking, Subject: "layout", Problem: sentence(err.Error()), Remedy: remedy}
}

// checkOperation says what is in flight. As long as it is, nothing else can be
// judged.
func (s *session) checkOperation() []sdk.Finding {
	op := s.journal.Operation
	return []sdk.Finding{{Severity: sdk.SeverityBlocking, Subject: "journal",
		Problem: fmt.Sprintf("The operation %q of generation %s is under way or was cut short, in the step %q.", op.Kind, op.Generation.ID, op.Step),
		Remedy:  "Wait for it if it runs; else: tbupdate recover"}}
}

func (s *session) checkNames(ctx context.Context) ([]sdk.Finding, error) {
	wrong, err := s.wrongNames(ctx)
	var unclear *Error
	if errors.As(err, &unclear) {
		return []sdk.Finding{{Severity: sdk.SeverityBlocking, Subject: "layout", Problem: sentence(unclear.Error()), Remedy: "tbupdate rollback"}}, nil
	}
	if err != nil {
		return nil, err
	}
	var findings []sdk.Finding
	for _, problem := range wrong {
		findings = append(findings, sdk.Finding{Severity: sdk.SeverityBlocking, Subject: "layout", Problem: sentence(problem), Remedy: "tbupdate recover"})
	}
	return findings, nil
}

func (s *session) checkBooted(ctx context.Context) ([]sdk.Finding, error) {
	booted, subvolume, err := s.booted(ctx)
	var unclear *Error
	if errors.As(err, &unclear) {
		return []sdk.Finding{{Severity: sdk.SeverityBlocking, Subject: "/", Problem: sentence(unclear.Error()),
			Remedy: "Reboot into the boot loader's default entry; with --cmdline, name the file of this disk."}}, nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case booted == nil:
		return []sdk.Finding{{Severity: sdk.SeverityBlocking, Subject: "/",
			Problem: fmt.Sprintf("The system runs from %s and not from %s.", describe(subvolume), generation.RootName),
			Remedy:  "Reboot into the boot loader's default entry."}}, nil
	case booted.ID != s.journal.Roles.Root && s.journal.Trial == nil:
		return []sdk.Finding{{Severity: sdk.SeverityWarning, Subject: "/",
			Problem: fmt.Sprintf("Generation %s runs, and %s is to boot next.", booted.ID, s.journal.Roles.Root), Remedy: "Reboot."}}, nil
	}
	return nil, nil
}

// checkEntries looks at the boot loader: its default must be the pinned pair that
// was confirmed last.
func (s *session) checkEntries(ctx context.Context) ([]sdk.Finding, error) {
	var findings []sdk.Finding
	if err := s.checkLoader(ctx); err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return nil, err
		}
		findings = append(findings, sdk.Finding{Severity: sdk.SeverityBlocking, Subject: "boot loader", Problem: sentence(err.Error()), Remedy: "tbupdate recover"})
	}
	state, err := s.Boot.State(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range s.journal.Generations {
		if !g.Present() || g.State == generation.Failed {
			continue
		}
		i := slices.IndexFunc(state.Entries, func(e sdk.InstalledEntry) bool { return e.ID == string(g.ID) })
		problem := ""
		if i < 0 {
			problem = "it has no entry"
		} else if problem = state.Entries[i].Problem; problem == "" {
			root, err := s.FS.Booted(ctx, state.Entries[i].CommandLine)
			if err != nil {
				problem = err.Error()
			} else if root.Identity != g.Root {
				problem = fmt.Sprintf("its entry boots %s instead of its own root", describe(root))
			} else if err := s.VerifyKernel(ctx, g); unlikeInstalled(err) {
				problem = err.Error()
			} else if err != nil {
				return nil, err
			}
		}
		if problem != "" {
			findings = append(findings, sdk.Finding{Severity: sdk.SeverityBlocking, Subject: "boot loader",
				Problem: fmt.Sprintf("Generation %s (%s) could not be booted: %s.", g.ID, g.Version, problem),
				Remedy:  "Roll back to another generation, or apply the update again."})
		}
	}
	return findings, nil
}

// checkGenerations makes sure that every pristine tree is there and read-only.
func (s *session) checkGenerations(ctx context.Context) ([]sdk.Finding, error) {
	var findings []sdk.Finding
	for _, g := range s.present() {
		pristine, err := s.FS.Lookup(ctx, g.ID.PristineName())
		problem := ""
		switch {
		case errors.Is(err, sdk.ErrNotFound):
			problem = "is not there"
		case err != nil:
			return nil, err
		case pristine.Identity != g.Pristine:
			problem = "is another subvolume than the one that was installed"
		case !pristine.ReadOnly:
			problem = "is not read-only, so it may have been changed"
		}
		if problem != "" {
			findings = append(findings, sdk.Finding{Severity: sdk.SeverityBlocking, Subject: g.ID.PristineName(),
				Problem: fmt.Sprintf("The pristine tree of generation %s %s.", g.ID, problem),
				Remedy:  "Apply a full bundle; deltas from this tree would fail."})
		}
	}
	return findings, nil
}

// checkTrees reads every pristine tree.
func (s *session) checkTrees(ctx context.Context) ([]sdk.Finding, error) {
	var findings []sdk.Finding
	for _, g := range s.present() {
		err := s.VerifyTree(ctx, g)
		switch {
		case errors.Is(err, sdk.ErrNotFound): // checkGenerations says so
		case errors.Is(err, context.Canceled):
			return nil, err
		case err != nil:
			findings = append(findings, sdk.Finding{Severity: sdk.SeverityBlocking, Subject: g.ID.PristineName(),
				Problem: fmt.Sprintf("The pristine tree of generation %s (%s) is not what was installed: %v.", g.ID, g.Version, err),
				Remedy:  "Apply a full bundle; look at the disk."})
		}
	}
	return findings, nil
}

// checkStrangers notes subvolumes that look like generations and that the journal
// does not know.
func (s *session) checkStrangers(ctx context.Context) ([]sdk.Finding, error) {
	subvolumes, err := s.FS.List(ctx)
	if err != nil {
		return nil, err
	}
	known := map[sdk.Identity]bool{}
	for _, g := range s.journal.Generations {
		known[g.Pristine], known[g.Root] = true, true
	}
	var findings []sdk.Finding
	for _, subvolume := range subvolumes {
		if known[subvolume.Identity] || !looksLikeGeneration(subvolume.Name) {
			continue
		}
		findings = append(findings, sdk.Finding{Severity: sdk.SeverityNote, Subject: subvolume.Name,
			Problem: "It has the name of a generation, and the journal does not know it.", Remedy: "Delete it if nobody needs it."})
	}
	return findings, nil
}

// looksLikeGeneration reports whether a name is that of a generation's tree.
func looksLikeGeneration(name string) bool {
	const prefix = generation.Directory + "/"
	const length = 36 // of a UUID in text
	if len(name) < len(prefix)+length || name[:len(prefix)] != prefix {
		return false
	}
	rest := name[len(prefix):]
	return uuid.Validate(rest[:length]) == nil && (rest[length:] == "" || rest[length:] == ".root")
}

// checkNextRoom says whether another generation would find room.
func (s *session) checkNextRoom(ctx context.Context) ([]sdk.Finding, error) {
	current, err := s.FS.Lookup(ctx, generation.CurrentName)
	if errors.Is(err, sdk.ErrNotFound) {
		return nil, nil // checkNames says so
	}
	if err != nil {
		return nil, err
	}
	err = s.checkRoom(ctx, current, &offer{})
	var e *Error
	if errors.As(err, &e) && e.Class == NoRoom {
		return []sdk.Finding{{Severity: sdk.SeverityBlocking, Subject: "room", Problem: sentence(err.Error()),
			Remedy: "tbupdate gc, a smaller update.keep, or a larger filesystem."}}, nil
	}
	return nil, err
}

// sentence makes a clause a sentence. A path or name at its beginning stays as it is
// written.
func sentence(clause string) string {
	if clause == "" {
		return ""
	}
	word, _, _ := strings.Cut(clause, " ")
	if first := clause[0]; first >= 'a' && first <= 'z' && !strings.ContainsAny(word, "/=_") {
		clause = strings.ToUpper(clause[:1]) + clause[1:]
	}
	return strings.TrimSuffix(clause, ".") + "."
}
