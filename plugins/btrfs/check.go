package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dennwc/btrfs"
	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/plugins/btrfs/internal/ioctl"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// rootName is the name of the subvolume that is to be "/".
const rootName = snapshotsName + "/root"

func (p *plugin) Check(ctx context.Context) ([]sdk.Finding, error) {
	v, err := p.begin(ctx, "check", "the volume")
	if err != nil {
		return nil, err
	}
	var findings []sdk.Finding
	for _, check := range []func() ([]sdk.Finding, error){
		v.checkWritable,
		v.checkDevices,
		v.checkRoom,
		v.checkQuota,
		func() ([]sdk.Finding, error) { return v.checkLayout(p.setup.Live) },
		v.checkMountTable,
	} {
		if err := ctx.Err(); err != nil {
			return nil, failure("check", v.device, err)
		}
		found, err := check()
		if err != nil {
			return nil, failure("check", v.device, err)
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

func (v *volume) checkWritable() ([]sdk.Finding, error) {
	// The kernel makes a filesystem read-only by itself when it meets an error; the
	// mount's own flag does not say so.
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(v.top.Fd()), &st); err != nil {
		return nil, err
	}
	if !v.mount.ReadOnly && st.Flags&unix.ST_RDONLY == 0 {
		return nil, nil
	}
	return []sdk.Finding{{
		Severity: sdk.SeverityBlocking,
		Subject:  v.device,
		Problem:  "the filesystem is read-only and cannot be made writable: the device is write-protected, or the kernel met an error",
		Remedy:   "look at the kernel's log (dmesg) for BTRFS, and repair or replace the device",
	}}, nil
}

func (v *volume) checkDevices() ([]sdk.Finding, error) {
	info, err := v.control.Info()
	if err != nil {
		return nil, err
	}
	var findings []sdk.Finding
	var present uint64
	err = eachDevice(v.control, func(id uint64, device btrfs.DevInfo) error {
		if id == 0 {
			return nil // the target of a replacement under way
		}
		if device.Path == "" {
			findings = append(findings, missingDevice(v.device, id))
			return nil
		}
		present++
		stats, err := v.control.GetDevStats(id)
		if err != nil {
			return fmt.Errorf("cannot read the error counters of %s: %w", device.Path, err)
		}
		if problem := countErrors(stats); problem != "" {
			findings = append(findings, sdk.Finding{
				Severity: sdk.SeverityWarning,
				Subject:  device.Path,
				Problem:  "the device had errors: " + problem,
				Remedy:   "run \"btrfs scrub start -B\" on the filesystem; replace the device if errors come back after \"btrfs device stats -z\"",
			})
		}
		return nil
	})
	if err == nil && present < info.NumDevices && len(findings) == 0 {
		findings = append(findings, missingDevice(v.device, 0))
	}
	return findings, err
}

func missingDevice(subject string, id uint64) sdk.Finding {
	problem := "a device of the filesystem is missing"
	if id != 0 {
		problem = fmt.Sprintf("device %d of the filesystem is missing", id)
	}
	return sdk.Finding{
		Severity: sdk.SeverityBlocking,
		Subject:  subject,
		Problem:  problem,
		Remedy:   "connect it again, or replace it with \"btrfs replace\"",
	}
}

// countErrors puts the counters that are not zero into words.
func countErrors(stats btrfs.DevStats) string {
	var problems []string
	for _, counter := range []struct {
		name  string
		count uint64
	}{
		{"write", stats.WriteErrs}, {"read", stats.ReadErrs}, {"flush", stats.FlushErrs},
		{"corruption", stats.CorruptionErrs}, {"generation", stats.GenerationErrs},
	} {
		if counter.count > 0 {
			problems = append(problems, fmt.Sprintf("%d %s", counter.count, counter.name))
		}
	}
	return strings.Join(problems, ", ")
}

// Room below which an update of any system is unlikely to fit, in bytes. core
// compares with what the update at hand needs.
const (
	littleData     = 64 << 20
	littleMetadata = 16 << 20
)

func (v *volume) checkRoom() ([]sdk.Finding, error) {
	r, err := v.measure()
	if err != nil {
		return nil, err
	}
	data, metadata := r.data(), r.metadata()
	if data >= littleData && metadata >= littleMetadata {
		return nil, nil
	}
	return []sdk.Finding{{
		Severity: sdk.SeverityWarning,
		Subject:  v.device,
		Problem: fmt.Sprintf("the filesystem is nearly full: room for %d MiB of data and %d MiB of metadata, of %d MiB",
			data>>20, metadata>>20, r.total>>20),
		Remedy: "delete what is not needed; where data has room and metadata has none, run \"btrfs balance start -dusage=20\"",
	}}, nil
}

// errFound ends a search early.
var errFound = errors.New("found")

func (v *volume) checkQuota() ([]sdk.Finding, error) {
	err := ioctl.Search(int(v.top.Fd()), ioctl.Range{
		Tree:      ioctl.QuotaTree,
		FirstType: ioctl.TypeQGStatus, LastType: ioctl.TypeQGStatus,
	}, func(ioctl.Item) error { return errFound })
	if err == nil {
		return nil, nil
	}
	if !errors.Is(err, errFound) {
		return nil, fmt.Errorf("cannot read the quota tree: %w", err)
	}
	return []sdk.Finding{{
		Severity: sdk.SeverityNote,
		Subject:  v.device,
		Problem:  "quota groups are enabled: deleting snapshots is slow, and a limit can end an update early",
		Remedy:   "\"btrfs quota disable\", if nobody needs them",
	}}, nil
}

// checkLayout looks at what only this plugin can see; core compares roles and boot
// entries.
func (v *volume) checkLayout(live bool) ([]sdk.Finding, error) {
	all, err := v.readSubvolumes()
	if err != nil {
		return nil, err
	}
	root := all.byName(rootName)
	if root == nil {
		return nil, nil // core reports it
	}
	findings := checkNested(all, root)
	id, err := v.defaultID()
	if err != nil {
		return nil, err
	}
	if id != root.id {
		findings = append(findings, sdk.Finding{
			Severity: sdk.SeverityWarning,
			Subject:  rootName,
			Problem:  fmt.Sprintf("it is subvolume %d, but the default is %s: what boots without a subvolume on its command line gets another root", root.id, nameOf(all, id)),
			Remedy:   fmt.Sprintf("\"btrfs subvolume set-default %d /\", or run \"tbupdate recover\" when an update was under way", root.id),
		})
	}
	if !live {
		return findings, nil
	}
	running, err := v.runningRoot()
	if err != nil {
		return nil, err
	}
	if running != 0 && running != root.id {
		findings = append(findings, sdk.Finding{
			Severity: sdk.SeverityNote,
			Subject:  "/",
			Problem:  fmt.Sprintf("/ is %s, not %s (subvolume %d)", nameOf(all, running), rootName, root.id),
			Remedy:   "after an update, restart; otherwise let the boot entry name the subvolume",
		})
	}
	return findings, nil
}

func nameOf(all subvolumes, id uint64) string {
	if s := all[id]; s != nil {
		return fmt.Sprintf("%q (subvolume %d)", s.name, id)
	}
	return fmt.Sprintf("subvolume %d", id)
}

// checkNested reports subvolumes inside root.
func checkNested(all subvolumes, root *subvolume) []sdk.Finding {
	var findings []sdk.Finding
	for _, name := range all.nestedIn(root.id) {
		findings = append(findings, sdk.Finding{
			Severity: sdk.SeverityBlocking,
			Subject:  name,
			Problem:  "it is a subvolume inside of " + rootName + ": snapshots do not hold it, so that its data would stay behind at the next update",
			Remedy:   "move it to the top level of the volume and mount it from there, by a line in /etc/fstab",
		})
	}
	return findings
}
