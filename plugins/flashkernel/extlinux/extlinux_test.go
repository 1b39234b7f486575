package extlinux

import (
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// usual is what u-boot-menu writes.
const usual = `## /extlinux/extlinux.conf
default l0
menu title U-Boot menu
prompt 0
timeout 50

label rescue
	linux /vmlinuz-5.10
	append root=LABEL=x single

label l0
	menu label Debian GNU/Linux 12 (bookworm) 6.1.0-9-arm64
	linux ../vmlinuz-6.1.0-9-arm64
	initrd /initrd.img-6.1.0-9-arm64
	fdtdir /dtbs/6.1.0-9-arm64/
	append root=LABEL=x  ro quiet
`

func TestParse(t *testing.T) {
	l0 := Label{Name: "l0", Kernel: "/vmlinuz-6.1.0-9-arm64", Initrd: "/initrd.img-6.1.0-9-arm64", DeviceTrees: "/dtbs/6.1.0-9-arm64/", CommandLine: "root=LABEL=x  ro quiet"}
	for name, test := range map[string]struct {
		text string
		want Label
		says string
	}{
		"usual":           {usual, l0, ""},
		"no default":      {strings.Replace(usual, "default l0", "", 1), Label{Name: "rescue", Kernel: "/vmlinuz-5.10", CommandLine: "root=LABEL=x single"}, ""},
		"upper case":      {"LABEL a\nKERNEL k\nFDT a.dtb", Label{Name: "a", Kernel: "/extlinux/k", DeviceTree: "/extlinux/a.dtb"}, ""},
		"unknown default": {"default x\nlabel a\nkernel /k\n", Label{}, `no label "x"`},
		"empty":           {"", Label{}, `no label ""`},
		"overlays":        {"label a\nkernel /k\nfdtoverlays /o.dtbo\n", Label{}, `it has "fdtoverlays"`},
		"no kernel":       {"label a\nappend ro\n", Label{}, "has no kernel"},
		"image with part": {"label a\nkernel /fit#conf-1\n", Label{}, `the path "/fit#conf-1"`},
		"odd path":        {"label a\nkernel /a;reset\n", Label{}, "the path"},
		"expansion":       {"label a\nkernel /k\nappend root=${x}\n", Label{}, "expands variables"},
		"include":         {"include /other\n", Label{}, "before the first label"},
	} {
		got, err := Parse(test.text, "extlinux")
		if test.says != "" {
			if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: error %v, want %q", name, err, test.says)
			}
			continue
		}
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(usual)
	f.Fuzz(func(t *testing.T, text string) {
		label, err := Parse(text, "extlinux")
		if err != nil {
			return
		}
		for _, place := range []string{label.Kernel, label.Initrd, label.DeviceTree, label.DeviceTrees} {
			if place != "" && (!path.IsAbs(place) || strings.ContainsAny(place, " ;$'\"\n\\")) {
				t.Errorf("path %q", place)
			}
		}
		again := "label " + label.Name + "\nkernel " + label.Kernel + "\nappend " + label.CommandLine + "\n"
		if label.Initrd != "" {
			again += "initrd " + label.Initrd + "\n"
		}
		if label.DeviceTree != "" {
			again += "fdt " + label.DeviceTree + "\n"
		}
		if label.DeviceTrees != "" {
			again += "fdtdir " + label.DeviceTrees + "\n"
		}
		if back, err := Parse(again, "elsewhere"); err != nil || back != label {
			t.Errorf("%+v became %+v (%v)", label, back, err)
		}
	})
}
