package main

import (
	"os"
	"path"
	"strings"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/bootscript"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/extlinux"
	"github.com/trebuchet-update/tbupdate/sdk"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
)

// This is the part for a U-Boot by itself, that is, one for which nothing but an
// extlinux.conf was written. It does not go on with such files: they cannot count, and
// newer U-Boots have no command that boots one from another place ("sysboot").

// Files in the directory tbupdate that keep what extlinux.conf was.
const (
	foreignConfig = "foreign.conf" // as it was, for people
	foreignWords  = "foreign.env"  // its command line, as chooser.Words
)

// plainScript makes the script of an entry, of what it installs.
func plainScript(r bootdir.Record) ([]byte, error) {
	label := extlinux.Label{Kernel: "/" + bootdir.EntryPath(r.ID, "vmlinuz-"+r.Version)}
	if initrd := r.File(sdk.RoleInitrd); initrd != "" {
		label.Initrd = "/" + initrd
	}
	switch one := r.OneDeviceTree(); {
	case one != "":
		label.DeviceTree = "/" + one
	case r.File(sdk.RoleDeviceTree) != "":
		label.DeviceTrees = "/" + bootdir.EntryPath(r.ID, "dtb")
	}
	return bootscript.Script{Name: scriptName, Processor: bootscript.ARM64, Text: commands(label)}.Bytes()
}

// commands loads what a label names and boots it, with the command line of the words
// that the chooser, or tail, has set. The device tree is chosen as extlinux.conf has
// it: U-Boot's own where the label has none, or where there is no place to load one.
// When something cannot be loaded the script ends.
func commands(label extlinux.Label) string {
	var text strings.Builder
	text.WriteString(`setenv tbupdate_whole yes
setenv tbupdate_initrd -
setenv tbupdate_tree ${fdt_addr}
if test -z "${tbupdate_tree}"; then setenv tbupdate_tree ${fdtcontroladdr}; fi
`)
	load := func(condition, address, file, then string) {
		text.WriteString(`if ` + condition + `; then
  if load ${tbupdate_boot} ` + address + ` ` + file + `; then ` + then + `; else setenv tbupdate_whole; fi
fi
`)
	}
	const toTree = "setenv tbupdate_tree ${fdt_addr_r}"
	switch {
	case label.DeviceTree != "":
		load(`test -n "${fdt_addr_r}"`, "${fdt_addr_r}", label.DeviceTree, toTree)
	case label.DeviceTrees != "":
		load(`test -n "${fdt_addr_r}" && test -n "${fdtfile}"`, "${fdt_addr_r}", path.Clean(label.DeviceTrees)+"/${fdtfile}", toTree)
	}
	if label.Initrd != "" {
		load(`test -n "${tbupdate_whole}"`, "${ramdisk_addr_r}", label.Initrd, "setenv tbupdate_initrd ${ramdisk_addr_r}:${filesize}")
	}
	// Each command takes its own kind of kernel and leaves others alone.
	text.WriteString(`if run tbupdate_words && test -n "${tbupdate_whole}"; then
  if load ${tbupdate_boot} ${kernel_addr_r} ` + label.Kernel + `; then
    booti ${kernel_addr_r} ${tbupdate_initrd} ${tbupdate_tree}
    bootz ${kernel_addr_r} ${tbupdate_initrd} ${tbupdate_tree}
    bootm ${kernel_addr_r} ${tbupdate_initrd} ${tbupdate_tree}
  fi
fi
`)
	return text.String()
}

// tail does what extlinux.conf did, behind the chooser.
func tail(label extlinux.Label) string {
	return "setenv tbupdate_directory /" + bootdir.Directory + "/\nsetenv tbupdate_file " + foreignWords + "\n" + commands(label)
}

func (u *ubootLoader) foreignLabel() (extlinux.Label, error) {
	data, err := os.ReadFile(u.volume.Path(extlinuxPath))
	if err != nil {
		return extlinux.Label{}, err
	}
	return extlinux.Parse(string(data), path.Dir(extlinuxPath))
}

// takeOver makes a boot.scr that does what extlinux.conf does as long as there is no
// default. U-Boot takes extlinux.conf first, so that one goes last, when all that does
// the same in its place is settled.
func (u *ubootLoader) takeOver() error {
	label, err := u.foreignLabel()
	if err != nil {
		return err
	}
	words, err := chooser.Words{CommandLine: label.CommandLine}.Bytes(u.settings.layout)
	if err != nil {
		return err
	}
	script, err := bootscript.Script{Name: scriptName, Processor: bootscript.ARM64, Text: chooser.Put(tail(label))}.Bytes()
	if err != nil {
		return err
	}
	config, err := os.ReadFile(u.volume.Path(extlinuxPath))
	if err != nil {
		return err
	}
	for _, file := range []struct {
		path string
		data []byte
	}{
		{u.own(foreignConfig), config},
		{u.own(foreignWords), words},
		{u.volume.Path(bootScript), script},
	} {
		if err := u.volume.Replace(file.path, file.data); err != nil {
			return err
		}
	}
	if err := os.Remove(u.volume.Path(extlinuxPath)); err != nil {
		return err
	}
	if err := durable.SyncDirectory(u.volume.Path(path.Dir(extlinuxPath))); err != nil {
		return err
	}
	return u.volume.Settle()
}
