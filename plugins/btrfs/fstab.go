package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/rootarg"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// checkMountTable reports the lines of root's /etc/fstab that choose a subvolume
// which an update gives another name or leaves behind: whatever is below the
// snapshots, by name or by id. What such a line mounts is another tree after the
// next update than before it.
func (v *volume) checkMountTable() ([]sdk.Finding, error) {
	all, err := v.readSubvolumes()
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(filepath.Join(v.mount.Directory, rootName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // core reports it
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	table, err := root.ReadFile("etc/fstab")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var findings []sdk.Finding
	for line := range strings.Lines(string(table)) {
		directory, pinned := pinnedByLine(all, line)
		if pinned == "" {
			continue
		}
		findings = append(findings, sdk.Finding{
			Severity: sdk.SeverityBlocking,
			Subject:  "/etc/fstab",
			Problem:  fmt.Sprintf("the line for %s pins %s, which is another tree after the next update", directory, pinned),
			Remedy:   pinRemedy(directory),
		})
	}
	return findings, nil
}

// pinnedByLine gives the mount point of an fstab(5) line and what it pins of what
// rotation moves; "" for nothing. Only the options are looked at: a line of another
// btrfs filesystem that happens to have the same names is reported as well.
func pinnedByLine(all subvolumes, line string) (directory, pinned string) {
	fields := strings.Fields(line)
	if len(fields) < 4 || strings.HasPrefix(fields[0], "#") || fields[2] != "btrfs" && fields[2] != "auto" {
		return "", ""
	}
	options, err := rootarg.Root{Flags: fields[3]}.Options()
	if err != nil {
		return fields[1], fields[3]
	}
	name := options.Name
	if s := all[options.ID]; !options.HasName && options.HasID && s != nil {
		name = s.name
	}
	if name != snapshotsName && !strings.HasPrefix(name, snapshotsName+"/") {
		return "", ""
	}
	return fields[1], name
}

func pinRemedy(directory string) string {
	if directory == "/" {
		return "take subvol= and subvolid= out of the line: the boot entry chooses the root"
	}
	return "move the data to a subvolume at the top level of the volume, and mount that"
}
