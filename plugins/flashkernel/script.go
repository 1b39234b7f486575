package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/bootscript"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
)

// bootScript is where U-Boot starts, and the script of each entry.
const bootScript = "boot.scr"

// mostScript is how long U-Boot's scripts may be, in bytes.
const mostScript = 64 << 10

// What U-Boot would start instead of boot.scr, in the order of its "distro boot".
var rivals = []string{extlinuxPath, "boot.scr.uimg"}

// extlinuxPath is what a U-Boot by itself boots by.
const extlinuxPath = "extlinux/extlinux.conf"

// readScript gives the text of U-Boot's script, and why it does not choose, "" when it
// does.
func (u *ubootLoader) readScript() (text, problem string, err error) {
	data, err := os.ReadFile(u.volume.Path(bootScript))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	script, parseErr := bootscript.Parse(data)
	for _, rival := range rivals {
		if _, err := os.Stat(u.volume.Path(rival)); err == nil {
			return script.Text, fmt.Sprintf("U-Boot takes %s before %s, and knows no trial there", rival, bootScript), nil
		}
	}
	switch {
	case err != nil:
		return "", "there is no " + bootScript, nil
	case parseErr != nil:
		return "", fmt.Sprintf("%s is damaged: %v", bootScript, parseErr), nil
	case !chooser.Chooses(script.Text):
		return script.Text, bootScript + " does not have tbupdate's chooser", nil
	}
	return script.Text, "", nil
}

// kernelVersion finds the release in a script that flash-kernel made.
var kernelVersion = regexp.MustCompile(`setenv fk_kvers '([^']+)'`)

// foreignOf says what a script boots when no generation is the default.
func foreignOf(script string) string {
	if found := kernelVersion.FindStringSubmatch(script); found != nil {
		return "kernel " + found[1] + " of " + bootScript
	}
	return "what " + bootScript + " does"
}

// writeScript puts the chooser before U-Boot's script. What the script did it goes on
// doing until there is a default.
func (u *ubootLoader) writeScript() error {
	if u.settings.method == methodExtlinux && exists(u.volume.Path(extlinuxPath)) {
		return u.takeOver()
	}
	script, err := u.wantedScript()
	if err != nil || script == nil {
		return err
	}
	return u.volume.Replace(u.volume.Path(bootScript), script)
}

// wantedScript gives the script with the chooser, nil when it is there.
func (u *ubootLoader) wantedScript() ([]byte, error) {
	data, err := os.ReadFile(u.volume.Path(bootScript))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	script, err := bootscript.Parse(data)
	if err != nil { // U-Boot would not run it either
		script = bootscript.Script{Processor: bootscript.ARM64}
	}
	text := chooser.Put(script.Text)
	if text == script.Text {
		return nil, nil
	}
	script.Name, script.Text = scriptName, text
	return script.Bytes()
}

// scriptName is for people who look at a script with dumpimage.
const scriptName = "tbupdate"

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
