package bootdir

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
)

// Unpinned reports whether a command line leaves it to names which root it mounts:
// after a rotation it boots whatever then has the name.
func Unpinned(commandLine string) bool {
	root := cmdline.Value(commandLine, "root")
	if strings.HasPrefix(root, "ZFS=") || strings.HasPrefix(root, "zfs:") && root != "zfs:AUTO" {
		return false // a dataset is named, but keeps its name
	}
	flags := strings.Split(cmdline.Value(commandLine, "rootflags"), ",")
	return !slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, "subvolid=") })
}

// ForeignFinding gives the result of a check of an entry of others. As long as the
// default is not ours, a trial that fails comes back to such an entry.
func ForeignFinding(name, commandLine string, defaultIsOurs bool) (sdk.Finding, bool) {
	if !Unpinned(commandLine) {
		return sdk.Finding{}, false
	}
	finding := sdk.Finding{
		Severity: sdk.SeverityWarning,
		Subject:  fmt.Sprintf("boot entry %q", name),
		Problem:  "it does not pin its root, so after an update it boots its own kernel with whatever root is the newest: " + commandLine,
		Remedy:   "do not choose it by hand; once no generation needs its kernel, remove that",
	}
	if !defaultIsOurs {
		finding.Severity = sdk.SeverityBlocking
		finding.Remedy = "make an installed generation the default (tbupdate init does), or pin its root by identity"
	}
	return finding, true
}
