// Package sdk is all that a vendor imports to teach Trebuchet Update another
// filesystem or boot loader.
//
// A plugin is a program that implements one of two contracts, FS or Boot, and
// hands it to package serve. The updater starts it as a child process, speaks gRPC to
// it (hashicorp/go-plugin), and stops it when the command is over.
//
// # Life cycle
//
// The host calls Describe, then Configure once, then Describe again, then any
// number of the contract's methods, one at a time, then Close. Describe may be
// called without Configure (by "tbupdate plugins list"); every other method before
// Configure returns ErrInvalid. When the host disappears, package serve lets the call that
// is under way finish, calls Close and exits: a plugin is never stopped in the
// middle of a change, and never outlives its host. (A call that is still under
// way ten minutes after that is cancelled; a minute later the process ends.)
//
// # What every method promises
//
//   - Calls that change something are idempotent: repeated with the same
//     parameters after a crash at any instant, they bring about the same state.
//   - A change is durable when the call returns: it survives a loss of power.
//   - An error is an *Error: it says what was being done to what, carries a Code
//     that the host may branch on, and leaves the object either as it was or in a
//     state from which the same call can be repeated.
//   - When the context is cancelled a method that only reads returns at once; one
//     that changes something first brings it to one of the states above.
//   - Nothing is printed on standard output. Standard error is the log.
//   - Programs that a method started have ended when it returns.
//
// Data never goes through a plugin. Where the updater has to write into a tree,
// the plugin hands back a path.
package sdk

import "context"

// Kind is what a plugin serves: a filesystem or a boot loader.
type Kind string

// The two kinds of plugin. A plugin program is named tbupdate-KIND-NAME.
const (
	KindFS   Kind = "fs"
	KindBoot Kind = "boot"
)

// Plugin is the part that both contracts have in common.
type Plugin interface {
	// Describe says what this plugin is and which settings and capabilities it
	// has. It touches nothing and works before Configure. After Configure it says
	// which of the capabilities it has on what it was opened on: a plugin that
	// serves several boot loaders finds out only then which one is there.
	Describe(ctx context.Context) (Description, error)

	// Configure gives the plugin its settings and lets it open what it works
	// on. It is called exactly once, before any method but Describe. It changes
	// nothing that outlives the plugin, except that it may mount a filesystem
	// below Setup.RunDirectory (and unmounts it in Close), and that it clears
	// away what a killed predecessor left mounted there.
	//
	// Errors: ErrInvalid for a setting with a wrong value, ErrNotFound when the
	// device or mount point is not there, ErrUnsupported when it holds something
	// that this plugin cannot work on.
	Configure(ctx context.Context, setup Setup) error

	// Check inspects what the plugin works on and reports everything that
	// stands, or may stand, in the way of an update or of coming back from one.
	// It changes nothing. An empty list is a clean bill of health.
	Check(ctx context.Context) ([]Finding, error)

	// Close releases what Configure acquired: mounts, handles, directories. It
	// is called once, after the last method has returned, also when the host
	// died. It is safe to call when Configure failed or never ran.
	Close() error
}

// Description is what a plugin says of itself.
type Description struct {
	Name    string // as in the program's name and the configuration: "btrfs"
	Kind    Kind
	Version string // of the plugin program, free form
	Summary string // one line for people

	// Keys are the settings that [fs.config] or [boot.config] may hold. The host
	// refuses any other, with its line and column.
	Keys []Key

	// Capabilities are the optional abilities that this plugin has, by the names
	// of this package's Capability constants: before Configure all that it may
	// have, after it those that it does have. A host ignores those that it does
	// not know, and so must a plugin (see Setup.HostCapabilities).
	Capabilities []Capability
}

// Has reports whether the plugin declared capability c.
func (d Description) Has(c Capability) bool {
	for _, have := range d.Capabilities {
		if have == c {
			return true
		}
	}
	return false
}

// Capability names an optional ability.
type Capability string

// The capabilities of contract version 1.
const (
	// CapabilityExchange: FS.Exchange is atomic. Without it the host takes care
	// that a crash between the two halves is repaired.
	CapabilityExchange Capability = "fs.exchange.atomic"
	// CapabilityChanges: FS.Changes works without reading both trees.
	CapabilityChanges Capability = "fs.changes"
	// CapabilityOneShot: Boot.Arm makes the loader boot the trial exactly once.
	CapabilityOneShot Capability = "boot.trial.once"
	// CapabilityCounted: Boot.Arm accepts 1 to 9 tries, and the loader by itself
	// counts them down.
	CapabilityCounted Capability = "boot.trial.counted"
)

// KeyType is the type of a setting's value in the configuration file.
type KeyType string

// Types of settings. Values travel as strings: booleans as "true" and "false",
// integers in decimal.
const (
	KeyString  KeyType = "string"
	KeyInteger KeyType = "integer"
	KeyBoolean KeyType = "boolean"
)

// Key describes one setting.
type Key struct {
	Name     string
	Type     KeyType
	Required bool
	Default  string   // "" where there is none or it is found out
	Allowed  []string // if not empty, the only values allowed
	Help     string   // one line for people
}

// Setup is what a plugin gets to work with.
type Setup struct {
	// Settings holds the values from the configuration, by Key.Name. Only keys
	// that Describe announced occur, each with a value of its type; a key that
	// was not set is absent (the plugin applies its own default).
	Settings map[string]string

	// CommandLine is the kernel command line that says what was booted: the
	// content of /proc/cmdline, or of the file that the operator named instead.
	CommandLine string

	// Live is true when CommandLine is that of the running kernel, so that "/"
	// is what was booted. When it is false the plugin works on disks that this
	// machine did not boot from, and must not look at "/".
	Live bool

	// RunDirectory is an existing directory on a volatile filesystem that only
	// root can write to: the same one for every process of this plugin on this
	// machine, several of which may run at a time, and no other plugin's. A plugin
	// makes its mount points below it.
	RunDirectory string

	// HostCapabilities names what the host can do. Unknown names occur on
	// purpose now and then, and are to be ignored.
	HostCapabilities []string
}

// Severity says what a Finding means for an update.
type Severity string

// Severities, mild to grave.
const (
	SeverityNote     Severity = "note"     // worth knowing
	SeverityWarning  Severity = "warning"  // works, but something may be lost or slow
	SeverityBlocking Severity = "blocking" // an update or a roll-back would fail or harm
)

// Finding is one result of a check.
type Finding struct {
	Severity Severity
	Subject  string // what it is about: a path, a name, an entry
	Problem  string // one sentence: what is wrong, with the figures
	Remedy   string // one sentence or command: what to do about it
}
