package health

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/trebuchet-update/tbupdate/core/command"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// Findings says what is wrong with the checks in a directory before a trial depends on
// them. others is how many checks there are beside them.
func Findings(directory string, others int) []sdk.Finding {
	var findings []sdk.Finding
	for _, problem := range untrusted(directory) {
		findings = append(findings, sdk.Finding{Severity: sdk.SeverityBlocking, Subject: directory,
			Problem: fmt.Sprintf("Every trial would fail: %v.", problem), Remedy: "chown root, chmod go-w"})
	}
	entries, _ := os.ReadDir(directory)
	for _, entry := range entries {
		info, err := os.Stat(filepath.Join(directory, entry.Name()))
		if err == nil && properName(entry.Name()) && info.Mode().IsRegular() && info.Mode()&0o111 == 0 {
			findings = append(findings, sdk.Finding{Severity: sdk.SeverityWarning, Subject: directory,
				Problem: fmt.Sprintf("%s is not executable, so it is not run.", entry.Name()), Remedy: "chmod 755, or give it a name with a dot"})
		}
	}
	if len(Programs(directory, nil)) == 0 && others == 0 {
		findings = append(findings, sdk.Finding{Severity: sdk.SeverityWarning, Subject: "health",
			Problem: "There is no health check of this machine's own: a trial that comes up is confirmed, whether it does its work or not.",
			Remedy:  fmt.Sprintf("Put one into %s, or name units or a network address in [health].", directory)})
	}
	return findings
}

// untrusted lists why checks of a directory would not be run.
func untrusted(directory string) []error {
	entries, err := os.ReadDir(directory)
	if os.IsNotExist(err) {
		return nil
	}
	if err == nil {
		err = trusted(directory)
	}
	if err != nil {
		return []error{err}
	}
	var problems []error
	for _, entry := range entries {
		path := filepath.Join(directory, entry.Name())
		info, err := os.Stat(path)
		if !properName(entry.Name()) || err == nil && (!info.Mode().IsRegular() || info.Mode()&0o111 == 0) {
			continue
		}
		if err = trusted(path); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

// Unit is a unit of systemd that has to be enabled.
type Unit struct {
	Name string
	// Without says in a clause what happens where it is not.
	Without string
}

// UnitFindings says which of these units of systemd are not enabled, each with what
// comes of it. Where systemd does not run there is nothing to say.
func UnitFindings(ctx context.Context, units []Unit) []sdk.Finding {
	if !managed() {
		return nil
	}
	var findings []sdk.Finding
	for _, unit := range units {
		state, err := command.Output(ctx, "systemctl", "is-enabled", "--", unit.Name)
		if err == nil {
			continue
		}
		findings = append(findings, sdk.Finding{Severity: sdk.SeverityWarning, Subject: unit.Name,
			Problem: fmt.Sprintf("It is %s: %s.", cmp.Or(strings.TrimSpace(string(state)), "not installed"), unit.Without), Remedy: "systemctl enable " + unit.Name})
	}
	return findings
}
