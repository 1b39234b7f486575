package grubcfg

import (
	"fmt"
	"path"
	"strings"
)

// directory is that of package bootdir on the boot filesystem.
const directory = "tbupdate"

// The files of the plugin that GRUB reads, below directory. Those of an entry lie
// in a directory of its own, are written once and never changed.
const (
	IncludeFile     = "tbupdate.cfg" // the static include
	EnvironmentFile = "grubenv"      // what is default, on trial, installed
	DefaultFile     = "default.cfg"  // the default again, for when EnvironmentFile cannot be read
	MenuFile        = "grub.cfg"     // of an entry: its two menu entries
	BootFile        = "boot.cfg"     // of an entry: loads and boots it
	TrialFile       = "trial.cfg"    // the same with the arguments of a trial
)

// Variables of the environment block.
const (
	VariableDefault  = "tbupdate_default"  // id
	VariablePrevious = "tbupdate_previous" // id of the default before: booted when the default's files are gone
	VariableEntries  = "tbupdate_entries"  // ids, separated by spaces
	VariableTrial    = "tbupdate_trial"    // id; GRUB empties it before it boots the trial for the last time
	VariableTries    = "tbupdate_tries"    // "1" to "9", how often the trial is still booted; anything else is 1
)

// MaxTries is what the include can count down from: GRUB's language has no
// arithmetic, so it goes through the digits.
const MaxTries = 9

// MenuID is the --id of the menu entry of an installed entry. A trial's has a dot,
// which no id has, so that the two kinds cannot collide.
func MenuID(id string, trial bool) string {
	if trial {
		return "tbupdate-" + id + ".trial"
	}
	return "tbupdate-" + id
}

// Include is the static include. It is sourced with tbupdate_boot set to the boot
// filesystem, and is the same on every machine, so that nothing ever rewrites it.
//
// What it relies on, tried with GRUB 2.06 (the tests run it in grub-emu):
//   - A command whose module cannot be loaded counts as true in an "if": so the
//     trial is taken only when the variables were read back as they were saved.
//   - "fallback" takes numbers only, not ids: so an entry that cannot be loaded
//     sources another one's BootFile by itself.
//   - An unquoted variable is split at spaces, and vanishes when it is empty.
//   - A file that cannot be read or parsed ends its own "source" only.
func Include() string {
	return `# Written by tbupdate and compared with what it should be: do not edit.
set tbupdate_default=
set tbupdate_previous=
set tbupdate_entries=
set tbupdate_trial=
set tbupdate_tries=

# What stands in the environment block wins; without one, the last default does.
if [ -s "($tbupdate_boot)/tbupdate/default.cfg" ]; then
	source "($tbupdate_boot)/tbupdate/default.cfg"
fi
if [ -s "($tbupdate_boot)/tbupdate/grubenv" ]; then
	load_env --file "($tbupdate_boot)/tbupdate/grubenv" tbupdate_default tbupdate_previous tbupdate_entries tbupdate_trial tbupdate_tries
fi

# Each entry's menu says at its end that GRUB took all of it: a default that names no
# menu entry would be the first one of others.
set tbupdate_has_default=
set tbupdate_has_previous=
set tbupdate_has_trial=
for tbupdate_id in $tbupdate_entries; do
	set tbupdate_listed=
	if [ -s "($tbupdate_boot)/tbupdate/$tbupdate_id/grub.cfg" ]; then
		source "($tbupdate_boot)/tbupdate/$tbupdate_id/grub.cfg"
	fi
	if [ "$tbupdate_listed" = "$tbupdate_id" ]; then
		if [ "$tbupdate_id" = "$tbupdate_default" ]; then set tbupdate_has_default=yes; fi
		if [ "$tbupdate_id" = "$tbupdate_previous" ]; then set tbupdate_has_previous=yes; fi
		if [ "$tbupdate_id" = "$tbupdate_trial" ]; then set tbupdate_has_trial=yes; fi
	fi
done
if [ "$tbupdate_has_default" = yes ]; then
	set default="tbupdate-$tbupdate_default"
elif [ "$tbupdate_has_previous" = yes ]; then
	set default="tbupdate-$tbupdate_previous"
fi

# Called by an entry that could not be loaded, with its id: the default, then the
# one before, then another start, which has one try less.
function tbupdate_recover {
	for tbupdate_id in $tbupdate_default $tbupdate_previous; do
		if [ "$tbupdate_id" != "$1" -a -s "($tbupdate_boot)/tbupdate/$tbupdate_id/boot.cfg" ]; then
			source "($tbupdate_boot)/tbupdate/$tbupdate_id/boot.cfg"
		fi
	done
	sleep 10
	reboot
}

# The try is noted before it is begun, and not begun unless that can be read back from
# the disk: otherwise a trial that fails would be tried for ever.
if [ -n "$tbupdate_trial" ]; then
	set tbupdate_once="$tbupdate_trial"
	set tbupdate_left=
	set tbupdate_digit=
	for tbupdate_next in 1 2 3 4 5 6 7 8 9; do
		if [ "$tbupdate_tries" = "$tbupdate_next" ]; then set tbupdate_left="$tbupdate_digit"; fi
		set tbupdate_digit="$tbupdate_next"
	done
	if [ -z "$tbupdate_left" ]; then set tbupdate_trial=; fi
	set tbupdate_again="$tbupdate_trial"
	set tbupdate_tries="$tbupdate_left"
	if save_env --file "($tbupdate_boot)/tbupdate/grubenv" tbupdate_trial tbupdate_tries; then
		set tbupdate_trial=unread
		set tbupdate_tries=unread
		load_env --file "($tbupdate_boot)/tbupdate/grubenv" tbupdate_trial tbupdate_tries
		if [ "$tbupdate_trial" = "$tbupdate_again" -a "$tbupdate_tries" = "$tbupdate_left" -a "$tbupdate_has_trial" = yes ]; then
			set default="tbupdate-$tbupdate_once.trial"
		fi
	fi
fi
`
}

// Entry is what GRUB has to know of an installed entry.
type Entry struct {
	ID             string
	Title          string
	Kernel         string // path on the boot filesystem, without a leading slash
	Initrd         string // "" for none
	DeviceTree     string // "" for none
	Arguments      []string
	TrialArguments []string // added for the trial
}

// Files gives the contents of an entry's files, by name.
//
// Errors: ErrArgument.
func (e Entry) Files() (map[string]string, error) {
	boot, err := e.loadScript(e.Arguments)
	if err != nil {
		return nil, err
	}
	trial, err := e.loadScript(append(append([]string{}, e.Arguments...), e.TrialArguments...))
	if err != nil {
		return nil, err
	}
	menu := e.menuEntry(e.Title, false, BootFile) + e.menuEntry(e.Title+" (trial)", true, TrialFile) +
		"set tbupdate_listed=" + e.ID + "\n"
	return map[string]string{BootFile: boot, TrialFile: trial, MenuFile: menu}, nil
}

func (e Entry) menuEntry(title string, trial bool, script string) string {
	return fmt.Sprintf(`menuentry %s --id %s --class gnu-linux --unrestricted {
	source "($tbupdate_boot)/%s"
	tbupdate_recover %s
}
`, Quote(title), Quote(MenuID(e.ID, trial)), path.Join(directory, e.ID, script), e.ID)
}

// loadScript nests the commands, since GRUB goes on after one that failed, and
// would boot a kernel without its initrd.
func (e Entry) loadScript(arguments []string) (string, error) {
	words, err := Arguments(arguments)
	if err != nil {
		return "", err
	}
	commands := []string{"linux " + Quote("/"+e.Kernel) + words}
	if e.Initrd != "" {
		commands = append(commands, "initrd "+Quote("/"+e.Initrd))
	}
	if e.DeviceTree != "" {
		commands = append(commands, "devicetree "+Quote("/"+e.DeviceTree))
	}
	var script strings.Builder
	script.WriteString("set root=\"$tbupdate_boot\"\n")
	for depth, command := range commands {
		fmt.Fprintf(&script, "%sif %s; then\n", strings.Repeat("\t", depth), command)
	}
	fmt.Fprintf(&script, "%sboot\n", strings.Repeat("\t", len(commands)))
	for depth := len(commands) - 1; depth >= 0; depth-- {
		fmt.Fprintf(&script, "%sfi\n", strings.Repeat("\t", depth))
	}
	return script.String(), nil
}
