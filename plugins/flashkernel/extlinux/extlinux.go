// Package extlinux reads what U-Boot boots from an extlinux.conf: bytes in, values out,
// no I/O. It knows as much of the format as U-Boot's boot/pxe_utils.c, and refuses what
// a few commands of U-Boot's script language could not do in its place.
package extlinux

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// ErrUnsupported says that a configuration does more than load files and boot them.
var ErrUnsupported = errors.New("extlinux.conf cannot be taken over")

// Label is one choice. Paths are absolute on the filesystem.
type Label struct {
	Name        string
	Kernel      string
	Initrd      string // "" for none
	DeviceTree  string // one blob, "" for none
	DeviceTrees string // directory of blobs, of which U-Boot picks fdtfile; "" for none
	CommandLine string
}

// keywords that change nothing about what is booted.
var ignored = map[string]bool{"prompt": true, "timeout": true, "menu": true, "ipappend": true, "totaltimeout": true, "ontimeout": true}

// Parse gives the label that U-Boot boots by itself: that of DEFAULT, or the first.
// directory is where the configuration lies; relative paths begin there.
//
// Errors: ErrUnsupported, with the reason.
func Parse(text, directory string) (Label, error) {
	var labels []Label
	var chosen string
	for line := range strings.Lines(text) {
		keyword, value := cutKeyword(line)
		switch {
		case keyword == "" || strings.HasPrefix(keyword, "#") || ignored[keyword]:
		case keyword == "default":
			chosen = value
		case keyword == "label":
			labels = append(labels, Label{Name: value})
		case len(labels) == 0:
			return Label{}, fmt.Errorf("%w: %q before the first label", ErrUnsupported, strings.TrimSpace(line))
		default:
			if err := labels[len(labels)-1].set(keyword, value, directory); err != nil {
				return Label{}, err
			}
		}
	}
	for _, label := range labels {
		if chosen == "" || label.Name == chosen {
			return label, label.check()
		}
	}
	return Label{}, fmt.Errorf("%w: it has no label %q", ErrUnsupported, chosen)
}

func cutKeyword(line string) (keyword, value string) {
	line = strings.TrimSpace(line)
	at := strings.IndexAny(line, " \t")
	if at < 0 {
		return strings.ToLower(line), ""
	}
	return strings.ToLower(line[:at]), strings.TrimSpace(line[at:])
}

func (l *Label) set(keyword, value, directory string) error {
	place := value
	if !path.IsAbs(place) {
		place = path.Join("/", directory, value)
	}
	switch keyword {
	case "kernel", "linux":
		l.Kernel = place
	case "initrd":
		l.Initrd = place
	case "fdt", "devicetree":
		l.DeviceTree = place
	case "fdtdir", "devicetreedir":
		l.DeviceTrees = place
	case "append":
		l.CommandLine = value
	default:
		return fmt.Errorf("%w: it has %q", ErrUnsupported, keyword)
	}
	return nil
}

// check refuses what a script could not name, or U-Boot would expand.
func (l Label) check() error {
	if l.Kernel == "" {
		return fmt.Errorf("%w: label %q has no kernel", ErrUnsupported, l.Name)
	}
	for _, place := range []string{l.Kernel, l.Initrd, l.DeviceTree, l.DeviceTrees} {
		if strings.ContainsFunc(place, isOdd) {
			return fmt.Errorf("%w: the path %q", ErrUnsupported, place)
		}
	}
	if strings.Contains(l.CommandLine, "${") || strings.Contains(l.CommandLine, "$(") {
		return fmt.Errorf("%w: U-Boot expands variables in %q", ErrUnsupported, l.CommandLine)
	}
	return nil
}

// isOdd reports whether a script would not take a character as it stands. '#' names a
// part of an image.
func isOdd(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._+~:@=,-", r))
}
