package rootarg

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, line string
		want       Root
	}{
		{"nothing", "", Root{}},
		{"others only", "quiet splash noroot=1 xroot=2", Root{}},
		{"all", "BOOT_IMAGE=/vmlinuz root=UUID=1 ro rootfstype=btrfs rootflags=subvolid=256\n", Root{"UUID=1", "subvolid=256", "btrfs"}},
		{"the last counts", "root=/dev/a rootflags=a root=/dev/b rootflags=b", Root{Device: "/dev/b", Flags: "b"}},
		{"empty one last", "root=/dev/a root=", Root{}},
		{"value in quotes", `root="UUID=1" rootflags="subvol=a b,ro"`, Root{Device: "UUID=1", Flags: "subvol=a b,ro"}},
		{"argument in quotes", `"root=LABEL=my disk" quiet`, Root{Device: "LABEL=my disk"}},
		{"quotes that do not end", `rootflags="subvol=a b`, Root{Flags: "subvol=a b"}},
		{"for init", "root=/dev/a -- root=/dev/b", Root{Device: "/dev/a"}},
		{"without a value", "root rootflags", Root{}},
		{"white space", "\troot=/dev/a\n\trootflags=x\x00", Root{Device: "/dev/a", Flags: "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Parse(c.line)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		flags string
		want  Options
		fails bool
	}{
		{flags: ""},
		{flags: "compress=zstd,noatime"},
		{flags: "subvolid=256", want: Options{HasID: true, ID: 256}},
		{flags: "noatime,subvolid=256,compress", want: Options{HasID: true, ID: 256}},
		{flags: "subvolid=256,subvolid=257", want: Options{HasID: true, ID: 257}},
		{flags: "subvolid=0", want: Options{HasID: true, ID: 5}},
		{flags: "subvolid=0x100", want: Options{HasID: true, ID: 256}},
		{flags: "subvolid=0400", want: Options{HasID: true, ID: 256}},
		{flags: "subvol=snapshots/root", want: Options{HasName: true, Name: "snapshots/root"}},
		{flags: "subvol=/snapshots/root/", want: Options{HasName: true, Name: "snapshots/root"}},
		{flags: "subvol=/", want: Options{HasName: true}},
		{flags: "subvol=a,subvol=b,subvolid=5", want: Options{HasName: true, Name: "b", HasID: true, ID: 5}},
		{flags: "subvol", want: Options{}},
		{flags: "subvolid=", fails: true},
		{flags: "subvolid=x", fails: true},
		{flags: "subvolid=-1", fails: true},
		{flags: "subvolid=1_0", fails: true},
		{flags: "subvolid=0x", fails: true},
		{flags: "subvolid=99999999999999999999", fails: true},
	} {
		t.Run(c.flags, func(t *testing.T) {
			got, err := Root{Flags: c.flags}.Options()
			if (err != nil) != c.fails {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOtherFlags(t *testing.T) {
	for flags, want := range map[string][]string{
		"":                     nil,
		"subvolid=256":         nil,
		"subvol=/a,subvolid=5": nil,
		"subvol":               nil,
		",,":                   nil,
		"degraded":             {"degraded"},
		"compress=zstd,subvol=a,degraded,subvolid=5,device=/dev/b": {"compress=zstd", "degraded", "device=/dev/b"},
		"nosubvol=1": {"nosubvol=1"},
	} {
		t.Run(flags, func(t *testing.T) {
			if diff := cmp.Diff(want, Root{Flags: flags}.OtherFlags()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`root=UUID=1 "a b" rootflags="subvolid=0x5,subvol=/a" -- c`)
	f.Fuzz(func(t *testing.T, line string) {
		root := Parse(line)
		_, _ = root.Options()
	})
}
