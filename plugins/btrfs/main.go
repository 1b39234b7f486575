// Command tbupdate-fs-btrfs is the fs plugin for btrfs.
//
// A subvolume's identity is its id in decimal, its name is its path from the
// filesystem's top level, which the plugin mounts for itself. Nothing of
// btrfs-progs is needed on the device.
//
//	main.go       the program        plugin.go     life cycle
//	device.go     finding devices    mount.go      the private mount
//	subvolume.go  names, identities  snapshot.go, rename.go, delete.go, seal.go
//	root.go       what boots         changes.go    what differs
//	state.go      Prepare            space.go      room
//	check.go, fstab.go  findings     links.go      paths of a file
//	failure.go    errors
package main

import "github.com/trebuchet-update/tbupdate/sdk/serve"

// version is set by the linker (see the Makefile).
var version = "development"

func main() {
	serve.FS(newPlugin(version))
}
