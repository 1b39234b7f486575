// Package pluginhost finds, starts, watches and stops plugins.
//
// It is the policy on top of sdk/launch: which file may be run, how long a call
// may take, which answers are believed, and what people are told when a plugin
// is missing, dies, hangs or lies. All of that is an *Error that names the
// plugin; what the plugin itself reports is its *sdk.Error, unchanged.
package pluginhost

import (
	"io"
	"time"

	"github.com/trebuchet-update/tbupdate/sdk"
)

// Spec says which plugin to start and how.
type Spec struct {
	Kind sdk.Kind
	Name string // "btrfs": letters a-z, digits and '-'
	// Directories are searched in this order for tbupdate-KIND-NAME.
	Directories []string
	// Program is the path of the plugin, where the configuration names it; then
	// Directories are not searched.
	Program string
	// SHA256 is the checksum that the program must have, in lower-case hex; ""
	// for any.
	SHA256 string
	// RunDirectory is an existing directory on a volatile filesystem that only
	// root can write to, such as /run/tbupdate. The plugin's socket goes into a
	// private directory in it. At most 60 bytes long.
	RunDirectory string
	// Log gets what the plugin writes on standard error; nil drops it.
	Log io.Writer
	// Limits holds time limits; zero ones have their default.
	Limits Limits
	// Grease, where set, is asked whether to send an unknown capability this
	// time, and names it; "" sends none. See NewGrease.
	Grease func() string
}

// Limits are how long a plugin may take. A call that is too slow is cancelled,
// and gets a grace to end in order; after that the plugin counts as hanging and
// every later call fails.
type Limits struct {
	Start  time.Duration // until it is served: 10 s
	Read   time.Duration // a call that changes nothing: 60 s
	Change time.Duration // a call that may change something, and Changes: 10 min
	// ReadGrace and ChangeGrace are how long a cancelled call may still take:
	// 10 s and 5 min.
	ReadGrace, ChangeGrace time.Duration
	Stop                   time.Duration // closing, before the process is killed: 1 min
}

func (l Limits) withDefaults() Limits {
	for _, limit := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&l.Start, 10 * time.Second},
		{&l.Read, time.Minute},
		{&l.Change, 10 * time.Minute},
		{&l.ReadGrace, 10 * time.Second},
		{&l.ChangeGrace, 5 * time.Minute},
		{&l.Stop, time.Minute},
	} {
		if *limit.value == 0 {
			*limit.value = limit.standard
		}
	}
	return l
}
