package bootdir

import (
	"context"
	"io"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

// Loader is what a plugin has to know of one boot loader. Its methods find
// everything on the disk; nothing is remembered between two calls. They are called
// one at a time. Those that change something are idempotent and durable, and their
// last write is the one that takes effect, as sdk.Boot has it.
type Loader interface {
	// Name is that of sdk.BootState.
	Name() string

	// MaxTries is how many tries the loader can count down by itself: 0 when it
	// knows no trial, 1 when it knows only "the next start".
	MaxTries() int

	// Scripts gives the files that an entry needs in its directory besides the
	// kernel set, content by name: at most three of at most 4 KiB. It is called a
	// first time before anything is written, with a record without files, to refuse
	// what the loader cannot be told.
	Scripts(r Record) (map[string]string, error)

	// Read says what the loader would do with what is on the disk.
	Read(ctx context.Context) (Choice, error)

	// Publish makes the loader offer an entry whose files are settled on the disk.
	Publish(ctx context.Context, r Record) error

	// Withdraw makes the loader forget an entry that is neither default nor trial.
	// It may be one that is half installed, or that never was.
	Withdraw(ctx context.Context, id string) error

	// Arm makes the entry the trial of the next tries starts, 1 to MaxTries. The
	// entry is whole and listed.
	Arm(ctx context.Context, id string, tries int) error

	// Disarm takes back a trial of ours; what others want to boot once stays.
	Disarm(ctx context.Context) error

	// SetDefault makes the entry, which is whole and listed, the default. A trial of
	// the same entry is disarmed, such that no start in between tries it more often.
	// Where the entry is the default, it puts right what Read calls damage.
	SetDefault(ctx context.Context, id string) error

	// Problem says why the loader could not boot a listed entry whose files have
	// the right size: mostly, because a file that names it was changed by others.
	Problem(ctx context.Context, r Record) string

	// Check adds what the loader has to say to the findings of the package.
	Check(ctx context.Context) ([]sdk.Finding, error)

	// WorkingRoom is how many bytes Publish may need for files of the loader's own,
	// old and new ones side by side.
	WorkingRoom() uint64
}

// Choice is what a loader would do at the next start.
type Choice struct {
	Default   string // id, "" when the default is not an entry of ours
	Foreign   string // what it is then, in the loader's words
	Trial     string // id, "" for none
	TriesLeft int    // 0 without a trial
	Damage    string // that of sdk.BootState, which SetDefault of Default puts right
	Listed    []string
	// Held are the ids that its files name as default or trial, also where it does
	// not come to boot them at present: nothing of these may be touched.
	Held    []string
	Problem string // why the loader does not look at our entries at all, "" when it does
}

// Namer is a Loader that wants the files of a kernel set under names of its own.
type Namer interface {
	// FileName gives the path within the entry's directory. file.Name is what it
	// would be: "vmlinuz", "initrd", "System.map", "config", "dtb/PATH". "" leaves the
	// file out, such as the device trees of a loader for which Make picks the one.
	FileName(version string, file kernelset.File) string
}

// KernelChecker is a Loader that cannot come back by itself from a kernel that it
// cannot load, and so wants to see it before anything is installed.
type KernelChecker interface {
	// CheckKernel refuses a kernel that the loader could not load.
	CheckKernel(image io.ReaderAt, size uint64) error
}

// Maker is a Loader that makes further files of an entry from its root tree, such as
// what a distribution's own tool writes for the board. They are installed, recorded
// and verified like the kernel set.
type Maker interface {
	// MadeFrom gives a text that differs when Make would make something else from
	// the same kernel set, title and arguments: versions of tools, a digest of a
	// database. As long as it and those are the same, Make is not called again.
	MadeFrom(ctx context.Context, order Order) (string, error)

	// MadeRoom gives an upper limit for what Make makes: how many files and how
	// many bytes in all. Installing fails when it makes more.
	MadeRoom(set kernelset.Set) (files int, bytes uint64)

	// Make makes the files. Nothing of the entry is on the boot filesystem yet, and
	// nothing will be when it fails.
	Make(ctx context.Context, order Order) ([]MadeFile, error)
}

// Order is what a Maker gets to work with.
type Order struct {
	Root    string          // path of the root tree in this machine's file tree
	Tree    *kernelset.Root // the same, to read in without being led out
	Set     kernelset.Set   // with names as they will be in the entry's directory
	Plan    Record          // what was asked; without files
	Scratch string          // an empty directory for Make, removed after it; "" for MadeFrom
}

// MadeFile is one file that Make made.
type MadeFile struct {
	Role   sdk.FileRole
	Source string // what it was made from or by, for people
	Name   string // path within the entry's directory
	Path   string // where it lies now
}
