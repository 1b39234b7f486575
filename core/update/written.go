package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
)

// writtenDirectories are those that a running system writes to. What it writes
// there does not follow it into the next generation unless they are mounts of
// their own; the severity says how bad that is once something is in them.
var writtenDirectories = []struct {
	path     string
	severity sdk.Severity
}{
	{"/home", sdk.SeverityBlocking},
	{"/root", sdk.SeverityBlocking},
	{"/srv", sdk.SeverityBlocking},
	{"/var", sdk.SeverityWarning},
	{"/var/log", sdk.SeverityWarning},
	{"/tmp", sdk.SeverityWarning},
	{"/etc", sdk.SeverityWarning},
}

// checkWritten looks at root's mount table: user data and directories that are
// written to have to stand outside the generation, and / is best read-only.
func (s *session) checkWritten(ctx context.Context) ([]sdk.Finding, error) {
	root, err := s.FS.Lookup(ctx, generation.RootName)
	if errors.Is(err, sdk.ErrNotFound) {
		return nil, nil // checkNames says so
	}
	if err != nil {
		return nil, err
	}
	table, err := readInTree(root.Path, "etc/fstab")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the mount table of %s: %w", generation.RootName, err)
	}
	mounts := parseMountTable(string(table))
	if s.Live() {
		running, err := mountinfo.GetMounts(nil)
		if err != nil {
			return nil, fmt.Errorf("cannot read what is mounted: %w", err)
		}
		for _, m := range running {
			mounts[m.Mountpoint] = mountOptions(m.Options)
		}
	}
	readOnly := mounts["/"].readOnly() || s.bootsReadOnly(mounts)
	var findings []sdk.Finding
	if !readOnly {
		findings = append(findings, sdk.Finding{Severity: sdk.SeverityWarning, Subject: "/",
			Problem: "It is mounted read-write: what is changed there stays behind in the old generation.",
			Remedy:  "Put the option ro into the line for / of /etc/fstab."})
	}
	for _, directory := range writtenDirectories {
		finding, err := checkDirectory(root.Path, directory.path, mounts, readOnly)
		if err != nil {
			return nil, err
		}
		if finding == nil {
			continue
		}
		if finding.Severity == "" {
			finding.Severity = directory.severity
		}
		findings = append(findings, *finding)
	}
	return findings, nil
}

// bootsReadOnly reports whether the kernel mounts / read-only and nothing in the
// mount table makes it writable.
func (s *session) bootsReadOnly(mounts map[string]mountOptions) bool {
	_, listed := mounts["/"]
	return !listed && slices.Contains(cmdline.Split(s.CommandLine), "ro")
}

// checkDirectory gives a finding for a directory that belongs to the generation
// although it is written to: a note when it is empty so far, else without a
// severity, which is the caller's to say. /etc is only written where / is.
func checkDirectory(tree, directory string, mounts map[string]mountOptions, readOnly bool) (*sdk.Finding, error) {
	for at := directory; at != "/"; at = path.Dir(at) {
		if _, mounted := mounts[at]; mounted {
			return nil, nil
		}
	}
	if directory == "/etc" && readOnly {
		return nil, nil
	}
	filled, err := hasContent(tree, strings.TrimPrefix(directory, "/"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look into %s: %w", directory, err)
	}
	finding := &sdk.Finding{Subject: directory,
		Problem: "It is part of the generation: what is written there stays behind at the next update.",
		Remedy:  fmt.Sprintf("Mount a subvolume of its own there (on an offline image: tbupdate init --state %s).", directory)}
	switch {
	case directory == "/etc":
		finding.Remedy = "Mount / read-only, or put an overlay over /etc."
	case !filled:
		finding.Severity = sdk.SeverityNote
	}
	return finding, nil
}

// hasContent reports whether a directory of the tree holds anything. A symbolic
// link counts as nothing: what it leads to has a place of its own.
func hasContent(tree, directory string) (bool, error) {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return false, err
	}
	defer root.Close()
	if info, err := root.Lstat(directory); err != nil || !info.IsDir() {
		return false, err
	}
	d, err := root.Open(directory)
	if err != nil {
		return false, err
	}
	defer d.Close()
	if _, err = d.Readdirnames(1); err == io.EOF {
		return false, nil
	}
	return err == nil, err
}

// mountOptions are the comma-separated options of a mount.
type mountOptions string

func (o mountOptions) readOnly() bool {
	return slices.Contains(strings.Split(string(o), ","), "ro")
}

// parseMountTable gives the options by mount point of an fstab(5).
func parseMountTable(table string) map[string]mountOptions {
	mounts := map[string]mountOptions{}
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") || !strings.HasPrefix(fields[1], "/") {
			continue
		}
		options := ""
		if len(fields) > 3 {
			options = fields[3]
		}
		mounts[path.Clean(strings.ReplaceAll(fields[1], `\040`, " "))] = mountOptions(options)
	}
	return mounts
}
