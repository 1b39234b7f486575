package sdk

import "context"

// Boot is the boot loader contract, version 1.
//
// # Words
//
// A kernel set is what is booted together with one root: kernel, initrd, device
// trees and what belongs to them (System.map, config). An entry is a kernel set
// installed under the id of a generation, with a command line that pins the
// generation's root.
//
// The default is the entry that boots when nothing else was asked for. A trial is
// an entry that boots at the next start only (or at the next N), after which the
// loader by itself comes back to the default, whatever became of the trial.
//
// # The rule above all
//
// At every instant, also between two writes of any method, and if power goes
// there, the loader boots either the default pair or an armed trial pair, each
// with its own kernel, initrd and root. So a method never overwrites or removes a
// file that an entry still needs, and puts the write that switches last.
type Boot interface {
	Plugin

	// Inspect finds the kernel set in a root tree and says what installing it
	// would take, without changing anything. root is a path in this machine's
	// file tree.
	//
	// Errors: ErrNoKernel (with the places that were searched), ErrUnsupported.
	Inspect(ctx context.Context, root string) (KernelSet, error)

	// Room says how many bytes can still be installed, and how many there are.
	Room(ctx context.Context) (Room, error)

	// Install copies the kernel set of entry.Root and writes an entry for it,
	// which is neither default nor trial. Repeated with the same parameters:
	// nothing to do; with other arguments, or over a half-installed one, the
	// entry is brought to what is asked. Also where it is the default or an armed
	// trial, a file that is not what was installed is put right: it is damaged.
	//
	// Errors: ErrNoSpace before anything is written where the room is too small
	// (the message has the numbers), and also when it runs out on the way, with
	// everything removed again; ErrNoKernel, ErrReadOnly; ErrBusy when the entry
	// is the default or an armed trial and is not what is asked.
	Install(ctx context.Context, entry Entry) (KernelSet, error)

	// Remove takes away the entry and its files. Repeated: an entry that is gone
	// is no error.
	//
	// Errors: ErrBusy when it is the default or an armed trial.
	Remove(ctx context.Context, id string) error

	// Arm makes the entry the trial for the next tries boots, 1 or where the
	// loader counts up to 9; the default stays. Its last write is the switch. An
	// earlier trial is replaced, its tries too. The loader notes each try before it
	// begins it, and begins none that it could not note.
	//
	// Errors: ErrNotFound, ErrUnsupported (more tries than the loader counts),
	// ErrCorrupt when a file of the entry is not what Install wrote.
	Arm(ctx context.Context, id string, tries int) error

	// Disarm takes back an armed trial. Repeated, or with none armed: nothing to
	// do.
	Disarm(ctx context.Context) error

	// SetDefault makes the entry the default. Its last write is the switch. It
	// leaves an armed trial of another entry as it is; one of this entry is
	// disarmed. Where the entry is the default already, it puts right what State
	// calls damage, and else has nothing to do.
	//
	// Errors: ErrNotFound, ErrCorrupt as for Arm.
	SetDefault(ctx context.Context, id string) error

	// State reads from the disk what the loader would do, as the loader would
	// read it, not as this plugin remembers it.
	State(ctx context.Context) (BootState, error)

	// Verify compares every file of the entry with what Install recorded.
	//
	// Errors: ErrNotFound, ErrCorrupt with the file's name.
	Verify(ctx context.Context, id string) error
}

// Entry is a request to install one.
type Entry struct {
	ID    string // of the generation: lower-case letters, digits and '-'
	Title string // for the loader's menu
	// Root is where the generation's tree is found in this machine's file tree.
	Root string
	// Arguments is the kernel command line, one argument each, in order. It pins
	// the root.
	Arguments []string
	// TrialArguments are added on a trial boot only, such as "panic=10".
	TrialArguments []string
}

// KernelSet is what Inspect found or Install wrote.
type KernelSet struct {
	Version string // kernel release, as "uname -r" will say
	Files   []KernelFile
	// Bytes is the room that installing it takes, directories and rounding to
	// blocks included.
	Bytes uint64
}

// KernelFile is one file of a kernel set.
type KernelFile struct {
	Role   FileRole
	Source string // path within the root tree, relative: "boot/vmlinuz-6.1"
	Target string // path within the boot filesystem, relative; "" from Inspect
	Size   uint64
	SHA256 string // lower-case hex; "" from Inspect
}

// FileRole says what a file of a kernel set is for.
type FileRole string

// Roles of files.
const (
	RoleKernel     FileRole = "kernel"
	RoleInitrd     FileRole = "initrd"
	RoleDeviceTree FileRole = "device-tree"
	RoleSystemMap  FileRole = "system-map"
	RoleConfig     FileRole = "config"
)

// Room is the space of the boot filesystem, in bytes.
type Room struct {
	Total uint64
	Free  uint64 // what Install may use
}

// BootState is what the loader would do at the next start.
type BootState struct {
	Loader string // "grub", "extlinux", …
	// Entries are those that this plugin installed, sorted by ID.
	Entries []InstalledEntry
	Default string // id; "" when the default is not an entry of ours
	// Foreign says, in the loader's words, what the default is when it is not
	// an entry of ours.
	Foreign string
	Trial   string // id of the armed trial, "" for none
	// TriesLeft counts the boots that the armed trial still has.
	TriesLeft int
	// Damage says, in a clause, what is wrong with the files that the loader chooses by
	// although it comes to this default: a copy that is torn, a block that cannot be
	// read. "" for nothing. SetDefault of the default puts it right.
	Damage string
}

// InstalledEntry is one entry as the loader sees it.
type InstalledEntry struct {
	ID          string
	Title       string
	Kernel      KernelSet
	CommandLine string // without the trial's additions
	// Problem says why the loader could not boot it, "" when nothing is known
	// against it. Files are looked for, not read: that is Verify's part.
	Problem string
}
