package main

import "testing"

func TestPinnedByLine(t *testing.T) {
	all := subvolumes{
		257: {id: 257, name: "snapshots/root"},
		260: {id: 260, name: "state-var"},
	}
	for _, c := range []struct{ name, line, directory, pinned string }{
		{"comment", "# UUID=1 / btrfs subvol=snapshots/root 0 0", "", ""},
		{"no options", "UUID=1 / btrfs defaults 0 0", "", ""},
		{"another filesystem", "UUID=1 / ext4 subvol=snapshots/root 0 0", "", ""},
		{"root by name", "UUID=1 / btrfs rw,subvol=snapshots/root 0 0", "/", "snapshots/root"},
		{"root by name with a slash", "UUID=1\t/\tbtrfs\tsubvol=/snapshots/root\t0\t0", "/", "snapshots/root"},
		{"root by id", "UUID=1 / btrfs subvolid=257 0 0", "/", "snapshots/root"},
		{"directory of current", "UUID=1 /old btrfs ro,subvol=/snapshots/previous 0 0", "/old", "snapshots/previous"},
		{"state by id", "UUID=1 /var btrfs subvolid=260,noatime 0 0", "", ""},
		{"state by name", "UUID=1 /var btrfs subvol=state-var 0 0", "", ""},
		{"name that only begins like it", "UUID=1 /var btrfs subvol=snapshots-of-var 0 0", "", ""},
		{"nonsense", "UUID=1 /var btrfs subvolid=many 0 0", "/var", "subvolid=many"},
	} {
		t.Run(c.name, func(t *testing.T) {
			directory, pinned := pinnedByLine(all, c.line)
			if directory != c.directory || pinned != c.pinned {
				t.Errorf("got %q, %q; want %q, %q", directory, pinned, c.directory, c.pinned)
			}
		})
	}
}
