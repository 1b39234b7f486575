package treetest

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Odd gives a pair of trees of everything that is easily lost. Where it says what
// becomes of an entry, the first of a pair is the origin's.
func Odd() (before, after []Item) {
	long := strings.Repeat("n", 255)
	big := strings.Repeat("content that is long enough to be worth a copy; ", 400)
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // VFS_CAP_REVISION_2, cap_net_bind_service
	acl := func(user string) string {
		return "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x06\x00" + user + "\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"
	}
	x := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	before = []Item{
		{Path: "links", Mode: Dir},
		{Path: "links/made-a", Content: big},
		{Path: "links/made-b", Content: big},
		{Path: "links/broken-a", Content: "x" + big},
		{Path: "links/broken-b", Link: "links/broken-a"},
		{Path: "links/broken-c", Link: "links/broken-a"},
		{Path: "links/moved-a", Content: "y" + big},
		{Path: "links/moved-b", Link: "links/moved-a"},
		{Path: "links/changed-a", Content: "one"},
		{Path: "links/changed-b", Link: "links/changed-a"},
		{Path: "links/grown-a", Content: "z" + big},
		{Path: "links/swap-a", Content: "p" + big},
		{Path: "links/swap-b", Content: "q" + big},
		{Path: "links/cross-1", Content: "1" + big},
		{Path: "links/cross-2", Link: "links/cross-1"},
		{Path: "links/cross-3", Content: "1" + big},
		{Path: "links/cross-4", Link: "links/cross-3"},
		{Path: long, Mode: Dir},
		{Path: long + "/" + long, Content: "a"},
		{Path: "\xff\xfe\\", Content: "not UTF-8"},
		{Path: "nano", Content: "n", Mtime: 1, Nano: 1},
		{Path: "capability-gained", Content: "c", Mode: File | 0o111},
		{Path: "capability-lost", Content: "c", Xattrs: x("security.capability", capability)},
		{Path: "capability-kept", Content: "c", UID: 1, Xattrs: x("security.capability", capability)},
		{Path: "setuid", Content: "s", Mode: unix.S_IFREG | 0o6755, UID: 1},
		{Path: "acl", Content: "a", Mode: unix.S_IFREG | 0o664, Xattrs: x("system.posix_acl_access", acl("\xe8\x03\x00\x00"))},
		{Path: "acl-lost", Content: "a", Mode: unix.S_IFREG | 0o664, Xattrs: x("system.posix_acl_access", acl("\xe8\x03\x00\x00"))},
		{Path: "default", Mode: unix.S_IFDIR | 0o775, Xattrs: x("system.posix_acl_default", acl("\xe8\x03\x00\x00"))},
		{Path: "default/old", Content: "o"},
		{Path: "dir-with", Mode: Dir, Xattrs: x("user.d", "1", "trusted.gone", "2")},
		{Path: "symlink", Mode: Lnk, Target: "a", Xattrs: x("trusted.s", "1")},
		{Path: "char", Mode: Char, Rdev: unix.Mkdev(4095, 1048575), Xattrs: x("trusted.c", "1")},
		{Path: "fifo", Mode: FIFO, Xattrs: x("trusted.f", "1")},
		{Path: "was-file", Content: "f"},
		{Path: "was-dir", Mode: Dir},
		{Path: "was-dir/inside", Content: "was" + big},
		{Path: "was-link", Mode: Lnk, Target: "was-dir"},
		{Path: "lib-1.2.3", Mode: Dir},
		{Path: "lib-1.2.3/libx.so.1.2", Content: "lib" + big},
		{Path: "rotate.0", Content: "r0" + big},
		{Path: "rotate.1", Content: "r1" + big},
		{Path: "socket", Mode: Sock},
	}
	after = []Item{
		{Path: "links", Mode: Dir},
		{Path: "links/made-a", Content: big},
		{Path: "links/made-b", Link: "links/made-a"},
		{Path: "links/broken-a", Content: "x" + big},
		{Path: "links/broken-b", Content: "x" + big},
		{Path: "links/broken-c", Link: "links/broken-b"},
		{Path: "links/0-moved", Content: "y" + big},
		{Path: "links/moved-b", Link: "links/0-moved"},
		{Path: "links/changed-a", Content: "two"},
		{Path: "links/changed-b", Link: "links/changed-a"},
		{Path: "links/grown-0", Content: "z" + big},
		{Path: "links/grown-a", Link: "links/grown-0"},
		{Path: "links/swap-a", Content: "q" + big},
		{Path: "links/swap-b", Content: "p" + big},
		{Path: "links/cross-1", Content: "1" + big},
		{Path: "links/cross-3", Link: "links/cross-1"},
		{Path: "links/cross-2", Content: "1" + big},
		{Path: "links/cross-4", Link: "links/cross-2"},
		{Path: "links/symlink", Mode: Lnk, Target: "x"},
		{Path: "links/symlink-too", Link: "links/symlink"},
		{Path: long, Mode: Dir},
		{Path: long + "/" + long, Content: "b"},
		{Path: "\xff\xfe\\", Content: "not UTF-8 either"},
		{Path: "nano", Content: "n", Mtime: 1, Nano: 2},
		{Path: "capability-gained", Content: "c", Mode: File | 0o111, Xattrs: x("security.capability", capability)},
		{Path: "capability-lost", Content: "c"},
		{Path: "capability-kept", Content: "c", UID: 2, Xattrs: x("security.capability", capability)},
		{Path: "setuid", Content: "s", Mode: unix.S_IFREG | 0o6755, UID: 2},
		{Path: "acl", Content: "a", Mode: unix.S_IFREG | 0o664, Xattrs: x("system.posix_acl_access", acl("\xe9\x03\x00\x00"))},
		{Path: "acl-lost", Content: "a", Mode: unix.S_IFREG | 0o640},
		{Path: "default", Mode: unix.S_IFDIR | 0o775, Xattrs: x("system.posix_acl_default", acl("\xe9\x03\x00\x00"))},
		{Path: "default/new", Content: "n"},
		{Path: "default/dir", Mode: Dir},
		{Path: "default/dir/deep", Mode: FIFO},
		{Path: "default/symlink", Mode: Lnk, Target: "new"},
		{Path: "dir-with", Mode: Dir, Xattrs: x("user.d", "changed")},
		{Path: "symlink", Mode: Lnk, Target: "a", Xattrs: x("trusted.s", "2", "security.t", "3")},
		{Path: "char", Mode: Char, Rdev: unix.Mkdev(4095, 1048575), Xattrs: x("trusted.c", "2")},
		{Path: "block", Mode: Block, Rdev: unix.Mkdev(259, 70000)},
		{Path: "fifo", Mode: FIFO},
		{Path: "was-file", Mode: Dir},
		{Path: "was-file/inside", Content: "was" + big},
		{Path: "was-dir", Content: "f"},
		{Path: "was-link", Mode: Dir},
		{Path: "was-link/0", Content: "0"},
		{Path: "lib-1.2.4", Mode: Dir},
		{Path: "lib-1.2.4/libx.so.1.3", Content: "lib" + big + "."},
		{Path: "rotate.0", Content: "new"},
		{Path: "rotate.1", Content: "r0" + big},
		{Path: "rotate.2", Content: "r1" + big},
	}
	return before, after
}
