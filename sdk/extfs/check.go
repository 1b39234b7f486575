package extfs

import "github.com/trebuchet-update/tbupdate/sdk"

// Check says what stands in the way of an update on this filesystem, whatever the
// boot loader.
func (v *Volume) Check() ([]sdk.Finding, error) {
	var findings []sdk.Finding
	subject, device := v.Directory, v.DevicePath()
	readOnly, err := v.ReadOnly()
	if err != nil {
		return nil, err
	}
	if readOnly {
		findings = append(findings, sdk.Finding{Severity: sdk.SeverityBlocking, Subject: subject, Problem: "it is mounted read-only", Remedy: "mount -o remount,rw " + subject})
	}
	journalsData, err := v.JournalsData()
	if err != nil {
		return nil, err
	}
	if journalsData {
		findings = append(findings, sdk.Finding{
			Severity: sdk.SeverityBlocking, Subject: subject,
			Problem: "it journals file data, so that replaying the journal would undo what the boot loader noted",
			Remedy:  "mount it with data=ordered, and run tune2fs -o ^journal_data " + device,
		})
	}
	if v.Superblock.Errors {
		findings = append(findings, sdk.Finding{
			Severity: sdk.SeverityWarning, Subject: subject,
			Problem: "the kernel has found errors in this filesystem",
			Remedy:  "unmount it and run e2fsck -f " + device,
		})
	}
	return findings, nil
}
