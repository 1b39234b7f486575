// Package generation is the model of what is deployed on a machine (generations,
// the roles that the layout gives them, a trial, an operation in flight) and its
// journal on disk.
//
// The model is plain data: package update decides what becomes of it, and writes
// the intent of every step into it before the step is taken.
package generation

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/process"
)

// ID names a generation for ever: a UUID in lower case.
type ID string

// NewID gives an ID that no machine has used.
func NewID() ID { return ID(uuid.NewString()) }

// State says how far a generation has come.
type State string

// The states of a generation: staged → trial → good, or failed.
const (
	Staged State = "staged" // deployed, not yet armed
	Trial  State = "trial"  // armed for one boot, or running on it
	Good   State = "good"   // confirmed by a boot
	Failed State = "failed" // came back; kept as evidence
)

// Generation is one deployed version of the system.
type Generation struct {
	ID      ID     `json:"id"`
	Version string `json:"version"`
	State   State  `json:"state"`
	// Reason says why it failed; "" otherwise.
	Reason string `json:"reason,omitempty"`
	// FailedAt is when that was found out; zero otherwise.
	FailedAt time.Time `json:"failed_at,omitzero"`
	// Overruled is true for a failed one whose content was confirmed later: it is no
	// reason to refuse that content any more.
	Overruled bool `json:"overruled,omitempty"`

	// Tree is the digest of its pristine tree ("sha256:…").
	Tree string `json:"tree"`
	// Exact is the exact digest of the same tree, with nanoseconds, hard links and the
	// top's metadata: what bundles speak of. "" in journals of earlier versions.
	Exact string `json:"exact,omitempty"`
	// Revision is the one that its pristine tree had when it was sealed with these
	// digests; "" where the filesystem gives none.
	Revision string `json:"revision,omitempty"`
	// Kernel is the release of its kernel set, as uname -r says it.
	Kernel string `json:"kernel"`
	// Payload is the digest of what it was made from ("sha256:…"): of a bundle's
	// manifest, or of a bare stream; "" for init.
	Payload string `json:"payload,omitempty"`
	// Signed is true when it was made from a bundle.
	Signed bool `json:"signed,omitempty"`
	// Source is what it was made from, for people: a file name, an address, or
	// "init".
	Source string `json:"source"`

	// Pristine is the read-only tree snapshots/<id>; "" once it was removed.
	Pristine sdk.Identity `json:"pristine"`
	// Root is the writable copy that it runs from; "" once it was removed.
	Root sdk.Identity `json:"root"`
	// Removing is true once its removal has begun: it cannot be booted any more.
	Removing bool `json:"removing,omitempty"`

	InstalledAt time.Time `json:"installed_at"`
	// ConfirmedAt is when it became good; zero before.
	ConfirmedAt time.Time `json:"confirmed_at,omitzero"`
}

// Present reports whether its trees and kernel set are still installed, so that
// it could be booted.
func (g *Generation) Present() bool { return g.Pristine != "" && g.Root != "" && !g.Removing }

// Names of the layout, relative to the volume.
const (
	Directory    = "snapshots"
	RootName     = Directory + "/root"
	CurrentName  = Directory + "/current"
	PreviousName = Directory + "/previous"
	NewName      = Directory + "/new"
)

// PristineName is the name of the generation's read-only tree.
func (id ID) PristineName() string { return Directory + "/" + string(id) }

// WritableName is the name of the generation's writable copy while it is not
// snapshots/root.
func (id ID) WritableName() string { return id.PristineName() + ".root" }

// Roles says which generation each name of the layout stands for. "" is nobody.
type Roles struct {
	Root     ID `json:"root"`     // snapshots/root is its writable copy
	Current  ID `json:"current"`  // snapshots/current is a copy of its pristine tree
	Previous ID `json:"previous"` // snapshots/previous likewise
}

// Of lists the roles that a generation has, in the order root, current, previous.
func (r Roles) Of(id ID) []string {
	roles := []string{}
	for _, role := range []struct {
		holder ID
		name   string
	}{{r.Root, "root"}, {r.Current, "current"}, {r.Previous, "previous"}} {
		if role.holder == id {
			roles = append(roles, role.name)
		}
	}
	return roles
}

// After gives the roles that follow when the generation next becomes root.
func (r Roles) After(next ID) Roles {
	if next == r.Root {
		return r
	}
	return Roles{Root: next, Current: next, Previous: r.Current}
}

// TrialRun is a trial that was armed and is not yet judged.
type TrialRun struct {
	ID      ID        `json:"id"`
	Tries   int       `json:"tries"`
	ArmedAt time.Time `json:"armed_at"`
	// BootID is the kernel's boot id at the time of arming; a trial is judged by
	// another boot than that. "" when the disk is not the running machine's.
	BootID string `json:"boot_id,omitempty"`
	// Before is what the roles return to when the trial fails.
	Before Roles `json:"before"`
	// Crashes marks what earlier crashes had left when it was armed.
	Crashes []string `json:"crashes,omitempty"`
	// Boots are those of its boots that came far enough to be recorded, oldest
	// first. One that never did is not among them.
	Boots []TrialBoot `json:"boots,omitempty"`
}

// TrialBoot is one boot of a trial.
type TrialBoot struct {
	// BootID is the kernel's boot id; "" when the disk is not the running machine's.
	BootID string    `json:"boot_id,omitempty"`
	At     time.Time `json:"at"`
	// Failed says why this boot was given up; "" as long as nothing is known
	// against it. A boot that ends without it has crashed, hung or lost power.
	Failed string `json:"failed,omitempty"`
}

// Boot gives the record of the boot with this id, nil when there is none. The pointer
// is good until Boots changes.
func (t *TrialRun) Boot(id string) *TrialBoot {
	i := slices.IndexFunc(t.Boots, func(b TrialBoot) bool { return b.BootID == id })
	if i < 0 {
		return nil
	}
	return &t.Boots[i]
}

// OperationKind says what is in flight.
type OperationKind string

// Kinds of operation.
const (
	Init     OperationKind = "init"
	Apply    OperationKind = "apply"
	Confirm  OperationKind = "confirm"
	Rollback OperationKind = "rollback"  // an operator goes back to a good generation
	FallBack OperationKind = "fall-back" // a trial failed or was given up
	Collect  OperationKind = "collect"
	Repair   OperationKind = "repair" // something else moved the names of the layout
	// Judge is the kind of notes about a trial; it is never in flight.
	Judge OperationKind = "judge"
)

// Operation is the record of a change in flight. It is written before the first
// step, brought up to date before each step, and removed after the last.
type Operation struct {
	Kind OperationKind `json:"kind"`
	// Step is the one that was about to be taken when this was written.
	Step string `json:"step"`
	// Undoing is true once the decision to go back was taken.
	Undoing bool      `json:"undoing,omitempty"`
	Started time.Time `json:"started"`
	// Generation is what is being built, confirmed, gone back to or removed.
	Generation Generation `json:"generation"`
	// Before and After are the roles that undoing and finishing lead to.
	Before Roles `json:"before"`
	After  Roles `json:"after"`
	// DefaultRoot is what the default subvolume was before init, when there were
	// no roles yet.
	DefaultRoot sdk.Identity `json:"default_root,omitempty"`
	// Adopted is true when init makes an existing snapshots/root the
	// generation's writable copy, so that undoing must not delete it.
	Adopted bool `json:"adopted,omitempty"`
	// State names the subvolumes that init split off for state directories.
	State []string `json:"state,omitempty"`
	// Reason is why a fall-back or a repair happens.
	Reason string `json:"reason,omitempty"`
	// Workers are those of whoever wrote this.
	Workers Workers `json:"workers,omitzero"`
}

// Workers are the processes that change the machine for an updater. They may outlive one that
// is killed, to end what they are doing.
type Workers struct {
	// BootID is the kernel's boot id, also where the disk is not the running machine's.
	BootID string `json:"boot_id"`
	// Processes each lead a session.
	Processes []process.Mark `json:"processes"`
}

// Journal is all that the updater remembers of a machine.
type Journal struct {
	// Format is the version of this document; a higher one than FormatVersion is
	// refused.
	Format int `json:"format"`
	// Generations are all that are or were installed, oldest first.
	Generations []Generation `json:"generations"`
	Roles       Roles        `json:"roles"`
	// Default is the generation that the boot loader starts when nothing else was
	// asked for: the last one confirmed or rolled back to.
	Default ID `json:"default"`
	// Floor is the highest version from a bundle that was confirmed; "" for none. Older
	// ones are not installed unless that is asked for.
	Floor string `json:"floor,omitempty"`
	// Trial is the trial that is not yet judged, nil for none.
	Trial *TrialRun `json:"trial,omitempty"`
	// Operation is what was in flight, nil for nothing.
	Operation *Operation `json:"operation,omitempty"`

	// unknown holds members that a newer updater wrote: they are kept.
	unknown map[string]rawMember
}

// Find gives the generation with this id, nil when there is none. The pointer is
// good until Generations changes.
func (j *Journal) Find(id ID) *Generation {
	i := slices.IndexFunc(j.Generations, func(g Generation) bool { return g.ID == id })
	if i < 0 {
		return nil
	}
	return &j.Generations[i]
}

// FindRoot gives the generation whose writable copy is this subvolume, nil when
// there is none.
func (j *Journal) FindRoot(root sdk.Identity) *Generation {
	i := slices.IndexFunc(j.Generations, func(g Generation) bool { return g.Root != "" && g.Root == root })
	if i < 0 {
		return nil
	}
	return &j.Generations[i]
}

// Put replaces the generation with the same id, or adds it.
func (j *Journal) Put(g Generation) {
	if have := j.Find(g.ID); have != nil {
		*have = g
		return
	}
	j.Generations = append(j.Generations, g)
}
