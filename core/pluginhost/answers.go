package pluginhost

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
)

// nonsense makes an *Error of an answer that cannot be true. The method is named
// as in package sdk.
func (p *Process) nonsense(method string, problem error) error {
	return p.fail(fmt.Errorf("answers nonsense: %s gave %w", method, problem))
}

func checkFinding(f sdk.Finding) error {
	switch f.Severity {
	case sdk.SeverityNote, sdk.SeverityWarning, sdk.SeverityBlocking:
	default:
		return fmt.Errorf("a finding of unknown severity %q", f.Severity)
	}
	if f.Problem == "" {
		return errors.New("a finding without a problem")
	}
	return nil
}

func checkVolume(v sdk.Volume) error {
	switch {
	case v.ID == "":
		return errors.New("a volume without an id")
	case v.FreeBytes > v.TotalBytes:
		return fmt.Errorf("a volume with %d bytes free of %d", v.FreeBytes, v.TotalBytes)
	}
	return nil
}

// checkSubvolume checks one whose path may be missing.
func checkSubvolume(s sdk.Subvolume) error {
	if s.Identity == "" {
		return fmt.Errorf("a subvolume with the name %q and no identity", s.Name)
	}
	if s.Path == "" {
		return nil
	}
	return checkPath(s.Path)
}

// checkReachable checks a subvolume that must have a path.
func checkReachable(s sdk.Subvolume) error {
	if err := checkSubvolume(s); err != nil {
		return err
	}
	return checkPath(s.Path)
}

func checkList(list []sdk.Subvolume) error {
	seen := make(map[sdk.Identity]bool, len(list))
	for _, s := range list {
		if err := checkSubvolume(s); err != nil {
			return err
		}
		if s.Name == "" {
			return fmt.Errorf("subvolume %s without a name in a list of named ones", s.Identity)
		}
		if seen[s.Identity] {
			return fmt.Errorf("the identity %s twice", s.Identity)
		}
		seen[s.Identity] = true
	}
	return nil
}

// checkPath checks a place in this machine's file tree.
func checkPath(p string) error {
	if !path.IsAbs(p) || path.Clean(p) != p || strings.ContainsRune(p, 0) {
		return fmt.Errorf("the path %q, which is not absolute and clean", p)
	}
	return nil
}

// checkInside checks a path that is relative to a tree and stays within.
func checkInside(p string) error {
	if p == "" || path.IsAbs(p) || path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../") || strings.ContainsRune(p, 0) {
		return fmt.Errorf("the path %q, which is not a clean relative one", p)
	}
	return nil
}

func checkChange(c sdk.Change) error {
	switch c.Kind {
	case sdk.ChangeAdded, sdk.ChangeModified, sdk.ChangeRemoved:
		return checkInside(c.Path)
	}
	return fmt.Errorf("a change of unknown kind %q", c.Kind)
}

// checkArguments checks kernel arguments: each must stay one argument on a
// command line, and one line in a boot loader's file.
func checkArguments(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("no kernel arguments")
	}
	for _, a := range arguments {
		if _, err := cmdline.Join([]string{a}); err != nil {
			return fmt.Errorf("the kernel argument %q", a)
		}
	}
	return nil
}

// checkMountLine checks a line of an fstab(5): one line of four to six fields.
func checkMountLine(line string) error {
	fields := len(strings.Fields(line))
	if fields < 4 || fields > 6 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return fmt.Errorf("the mount line %q", line)
	}
	return nil
}

// checkKernelSet checks what Inspect found, or with installed what Install
// wrote.
func checkKernelSet(k sdk.KernelSet, installed bool) error {
	kernels := 0
	for _, f := range k.Files {
		if f.Role == sdk.RoleKernel {
			kernels++
		}
		if err := checkInside(f.Source); err != nil {
			return err
		}
		if !installed {
			continue
		}
		if err := checkInside(f.Target); err != nil {
			return err
		}
		if len(f.SHA256) != 64 || strings.Trim(f.SHA256, "0123456789abcdef") != "" {
			return fmt.Errorf("the SHA-256 %q for %s", f.SHA256, f.Target)
		}
	}
	if kernels != 1 {
		return fmt.Errorf("a kernel set with %d kernels", kernels)
	}
	return nil
}

func checkRoom(r sdk.Room) error {
	if r.Free > r.Total {
		return fmt.Errorf("%d bytes free of %d", r.Free, r.Total)
	}
	return nil
}

func checkBootState(s sdk.BootState) error {
	ids := make(map[string]bool)
	for _, entry := range s.Entries {
		if entry.ID == "" || ids[entry.ID] {
			return fmt.Errorf("the entry %q twice or without an id", entry.ID)
		}
		ids[entry.ID] = true
	}
	switch {
	case s.Default != "" && !ids[s.Default]:
		return fmt.Errorf("the default %q, which is not among the entries", s.Default)
	case s.Trial != "" && !ids[s.Trial]:
		return fmt.Errorf("the trial %q, which is not among the entries", s.Trial)
	case s.Trial == "" && s.TriesLeft != 0, s.Trial != "" && s.TriesLeft < 1:
		return fmt.Errorf("the trial %q with %d tries left", s.Trial, s.TriesLeft)
	}
	return nil
}
