// Package rootarg reads from a kernel command line which root it asks for.
package rootarg

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
)

// Root is what a command line says about the root filesystem. Of arguments that
// come more than once the last counts, as for the kernel and for initrds.
type Root struct {
	Device     string // root=, "" when it is not there
	Flags      string // rootflags=
	Filesystem string // rootfstype=
}

// Parse reads a command line.
func Parse(commandLine string) Root {
	var root Root
	for _, argument := range cmdline.Split(commandLine) {
		if argument == "--" {
			break // the rest is for init (parse_args in kernel/params.c)
		}
		name, value, ok := cmdline.Cut(argument)
		if !ok {
			continue
		}
		switch name {
		case "root":
			root.Device = value
		case "rootflags":
			root.Flags = value
		case "rootfstype":
			root.Filesystem = value
		}
	}
	return root
}

// Types gives the filesystems of rootfstype=, which the kernel tries in turn.
func (r Root) Types() []string {
	if r.Filesystem == "" {
		return nil
	}
	return strings.Split(r.Filesystem, ",")
}

// Options are the mount options of btrfs that choose a subvolume.
type Options struct {
	HasName bool
	Name    string // subvol=, without slashes around it; "" is the top level
	HasID   bool
	ID      uint64 // subvolid=
}

// topLevel is the id that stands behind subvolid=0 (btrfs_parse_param).
const topLevel = 5

// Options reads rootflags=. Of options that come more than once the last counts.
func (r Root) Options() (Options, error) {
	var o Options
	for option := range strings.SplitSeq(r.Flags, ",") {
		name, value, ok := strings.Cut(option, "=")
		switch {
		case ok && name == "subvol":
			o.HasName, o.Name = true, strings.Trim(value, "/")
		case ok && name == "subvolid":
			id, err := parseID(value)
			if err != nil {
				return Options{}, err
			}
			o.HasID, o.ID = true, id
		}
	}
	return o, nil
}

// OtherFlags gives the options of rootflags= that do not choose a subvolume, in
// their order.
func (r Root) OtherFlags() []string {
	var others []string
	for option := range strings.SplitSeq(r.Flags, ",") {
		name, _, _ := strings.Cut(option, "=")
		if name != "" && name != "subvol" && name != "subvolid" {
			others = append(others, option)
		}
	}
	return others
}

// parseID reads a number as kstrtoull does with base 0: decimal, 0x… or 0….
func parseID(text string) (uint64, error) {
	digits, base := strings.TrimPrefix(text, "+"), 10
	switch {
	case strings.HasPrefix(digits, "0x"), strings.HasPrefix(digits, "0X"):
		digits, base = digits[2:], 16
	case len(digits) > 1 && digits[0] == '0':
		digits, base = digits[1:], 8
	}
	id, err := strconv.ParseUint(digits, base, 64)
	if err != nil {
		return 0, fmt.Errorf("rootflags has subvolid=%q, which is not a number", text)
	}
	if id == 0 {
		return topLevel, nil
	}
	return id, nil
}
