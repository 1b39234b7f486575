package bootdir

import (
	"fmt"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
)

// maxID keeps three ids of the longest kind, and a few more, within one sector.
const maxID = 64

// checkID makes sure that an id can be part of a path, a label and a script as it
// stands.
func checkID(operation, id string) error {
	valid := id != "" && len(id) <= maxID && id[0] != '-'
	for _, c := range id {
		valid = valid && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !valid {
		return sdk.Errorf(sdk.CodeInvalid, operation, fmt.Sprintf("%q", id),
			"an id has 1 to %d lower-case letters, digits and '-', and does not begin with '-'", maxID)
	}
	return nil
}

// checkEntry refuses what no loader could be told.
func checkEntry(entry sdk.Entry) error {
	const operation = "install"
	if err := checkID(operation, entry.ID); err != nil {
		return err
	}
	if strings.ContainsFunc(entry.Title, isControl) {
		return sdk.Errorf(sdk.CodeInvalid, operation, entry.ID, "the title %q has control characters", entry.Title)
	}
	for _, arguments := range [][]string{entry.Arguments, entry.TrialArguments} {
		if _, err := cmdline.Join(arguments); err != nil {
			return sdk.Errorf(sdk.CodeInvalid, operation, entry.ID, "%w", err)
		}
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
