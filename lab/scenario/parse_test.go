package scenario

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHeader(t *testing.T) {
	s, err := parse("story", "# It happens.\n# ci: grub uboot\n# core: extlinux\n# full: *\n\n# ci: nothing\nmachine\n")
	if err != nil {
		t.Fatal(err)
	}
	if s.Title != "It happens." {
		t.Errorf("the title is %q", s.Title)
	}
	want := map[string]Set{"grub": SetCI, "uboot": SetCI, "extlinux": SetCore, "*": SetFull}
	if diff := cmp.Diff(want, s.Sets); diff != "" {
		t.Error(diff)
	}
	cases := []struct {
		set      Set
		platform string
		want     bool
	}{
		{SetCI, "grub", true}, {SetCore, "grub", true}, {SetFull, "grub", true},
		{SetCI, "extlinux", false}, {SetCore, "extlinux", true},
		{SetCore, "grub-efi", false}, {SetFull, "grub-efi", true},
	}
	for _, c := range cases {
		if got := s.in(c.set, c.platform); got != c.want {
			t.Errorf("in set %s on %s: %v", c.set, c.platform, got)
		}
	}
	for _, wrong := range []string{"machine\n", "# It happens.\nmachine\n", "# It.\n# ci: grub\n# full: grub\n"} {
		if _, err := parse("story", wrong); err == nil {
			t.Errorf("the header %q is taken", wrong)
		}
	}
}

func TestStatusSpeaksOfVersions(t *testing.T) {
	s, err := parseStatus(`{"booted":"b","default":"a","trial":"b","state":"trial","generations":[
		{"id":"a","version":"1","state":"good"},{"id":"b","version":"2","state":"trial"}],"more":{}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"running": "2", "default": "1", "trial": "2", "state": "trial", "1": "good", "2": "trial"}
	if diff := cmp.Diff(want, s.values()); diff != "" {
		t.Error(diff)
	}
	err = expect("status", map[string]string{"running": "1", "state": "trial"}, s.values())
	if err == nil || err.Error() != `status: running is "2" instead of "1"` {
		t.Errorf("the difference is told as %v", err)
	}
	if got := subvolumeID("/dev/vda3 / btrfs rw,subvolid=259,subvol=/snapshots/root 0 0"); got != "259" {
		t.Errorf("the subvolume is %q", got)
	}
}
