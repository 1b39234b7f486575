package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

func TestBootedReadsEveryWayToNameARoot(t *testing.T) {
	b := newBench(t, loopback.Options{MkfsArguments: []string{"-L", "system"}})
	b.create("snapshots/root", "other", "other/deep")
	b.open()
	uuid := superblockOf(t, b.device.Path)
	if err := b.fs.SetDefault(t.Context(), b.id("other")); err != nil {
		t.Fatal(err)
	}
	root := b.id("snapshots/root")
	for _, c := range []struct {
		line, want string // name, or the error's code
	}{
		{"", "other"},
		{"root=UUID=" + uuid, "other"},
		{"root=UUID=" + strings.ToUpper(uuid) + " rootflags=noatime", "other"},
		{`root="LABEL=system" rootflags=subvol=/snapshots/root`, "snapshots/root"},
		{"root=LABEL=another", "not-found"},
		{"root=UUID=00000000-0000-0000-0000-000000000000", "not-found"},
		{"root=/dev/sda2 rootflags=subvol=snapshots/root", "snapshots/root"},
		{"root=/dev/sda2 rootflags=compress=zstd,subvol=snapshots//root/,noatime", "snapshots/root"},
		{"root=PARTUUID=1234-02 rootflags=subvol=other/deep", "other/deep"},
		{"rootflags=subvol=/", "."},
		{"rootflags=subvolid=0", "."},
		{"rootflags=subvolid=5", "."},
		{"rootflags=subvolid=" + string(root), "snapshots/root"},
		{"rootflags=subvol=other rootflags=subvolid=" + string(root), "snapshots/root"},
		{"rootflags=subvolid=" + string(root) + ",subvol=/snapshots/root", "snapshots/root"},
		{"rootflags=subvolid=" + string(root) + ",subvol=/other", "not-found"},
		{"rootflags=subvol=none", "not-found"},
		{"rootflags=subvol=../other", "other"},
		{"rootflags=subvolid=99999", "not-found"},
		{"rootflags=subvolid=x", "invalid"},
		{"root=/dev/sda2 rootfstype=ext4", "not-found"},
		{"root=/dev/sda2 rootfstype=ext4,btrfs", "other"},
		{"root=ZFS=rpool/root", "not-found"},
		{"root=zfs:AUTO", "not-found"},
	} {
		t.Run(c.line, func(t *testing.T) {
			s, err := b.fs.Booted(t.Context(), c.line)
			got := s.Name
			if err != nil {
				got = string(sdk.CodeOf(err))
			}
			if got != c.want {
				t.Errorf("got %q (%v), want %q", got, err, c.want)
			}
		})
	}
}

// TestKernelArgumentsKeepOptions: how the booted root is mounted holds for the next
// one; which subvolume it is does not.
func TestKernelArgumentsKeepOptions(t *testing.T) {
	b := newBench(t, loopback.Options{MkfsArguments: []string{"-L", "system"}})
	b.create("snapshots/root", "snapshots/a")
	b.open()
	uuid, id := superblockOf(t, b.device.Path), b.id("snapshots/a")
	for _, c := range []struct{ line, want string }{
		{"", ""},
		{"root=UUID=" + uuid + " ro rootflags=subvol=snapshots/root quiet", ""},
		{"root=UUID=" + uuid + " rootflags=compress=zstd,subvol=/snapshots/root,degraded", "compress=zstd,degraded,"},
		{"root=LABEL=system rootflags=subvolid=5,noatime", "noatime,"},
		{`root=/dev/sda2 rootflags="subvol=a b,ssd"`, "ssd,"},
		{"rootflags=lost rootflags=noatime", "noatime,"},
		{"root=UUID=00000000-0000-0000-0000-000000000000 rootflags=data=journal", ""},
		{"root=/dev/sda2 rootfstype=ext4 rootflags=data=journal", ""},
		{"root=LABEL=rescue rootflags=data=journal", ""},
	} {
		t.Run(c.line, func(t *testing.T) {
			b.close()
			b.configure(sdk.Setup{Settings: map[string]string{keyDevice: b.device.Path}, CommandLine: c.line})
			got, err := b.fs.KernelArguments(t.Context(), id)
			want := []string{"root=UUID=" + uuid, "rootfstype=btrfs", "rootflags=" + c.want + "subvolid=" + string(id)}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("error %v, arguments (-want +got):\n%s", err, diff)
			}
			if s, err := b.fs.Booted(t.Context(), strings.Join(got, " ")); err != nil || s.Identity != id {
				t.Errorf("Booted gave %+v, %v", s, err)
			}
		})
	}
}
