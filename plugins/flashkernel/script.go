package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"

	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/bootscript"
	"github.com/trebuchet-update/tbupdate/plugins/flashkernel/chooser"
	"github.com/trebuchet-update/tbupdate/sdk/bootdir"
	"github.com/trebuchet-update/tbupdate/sdk/durable"
)

// bootScript is where U-Boot starts, and the script of each entry.
const bootScript = "boot.scr"

// mostScript is how long U-Boot's scripts may be, in bytes.
const mostScript = 64 << 10

// What U-Boot would start instead of boot.scr, in the order of its "distro boot".
var rivals = []string{extlinuxPath, "boot.scr.uimg"}

// Paths for a U-Boot by itself.
const (
	extlinuxPath = "extlinux/extlinux.conf"
	foreignFile  = "foreign.conf" // in the directory tbupdate: what extlinuxPath was
)

// tail is what the script does on a machine that had none, when there is no default.
const tail = `sysboot ${devtype} ${devnum}:${distro_bootpart} any ${pxefile_addr_r} /` + bootdir.Directory + "/" + foreignFile + "\n"

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
	case !chooser.IsIn(script.Text):
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
// doing until there is a default. The order keeps to that at every instant:
// extlinux.conf, which U-Boot takes first, goes only when the script that boots its
// copy is settled.
func (u *ubootLoader) writeScript() error {
	takeOver := u.settings.method == methodExtlinux && exists(u.volume.Path(extlinuxPath))
	if takeOver {
		if err := u.copyForeign(); err != nil {
			return err
		}
	}
	script, err := u.wantedScript(takeOver)
	if err != nil {
		return err
	}
	if script != nil {
		if err := u.volume.Replace(u.volume.Path(bootScript), script); err != nil {
			return err
		}
	}
	if takeOver {
		return u.removeExtlinux()
	}
	return nil
}

// wantedScript gives the script with the chooser, nil when it is there. One that comes
// instead of an extlinux.conf goes on with the copy of that.
func (u *ubootLoader) wantedScript(takeOver bool) ([]byte, error) {
	data, err := os.ReadFile(u.volume.Path(bootScript))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	script, parseErr := bootscript.Parse(data)
	text := script.Text
	if takeOver || parseErr != nil { // nothing that U-Boot would run
		script, text = bootscript.Script{Processor: bootscript.ARM64}, tail
	}
	if text = chooser.Put(text); text == script.Text {
		return nil, nil
	}
	script.Name, script.Text = "tbupdate", text
	return script.Bytes()
}

// copyForeign keeps a copy of extlinux.conf, as long as U-Boot takes that.
func (u *ubootLoader) copyForeign() error {
	data, err := os.ReadFile(u.volume.Path(extlinuxPath))
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(u.own(foreignFile)); err == nil && string(old) == string(data) {
		return nil
	}
	return u.volume.Replace(u.own(foreignFile), data)
}

func (u *ubootLoader) removeExtlinux() error {
	if err := os.Remove(u.volume.Path(extlinuxPath)); err != nil {
		return err
	}
	if err := durable.SyncDirectory(u.volume.Path("extlinux")); err != nil {
		return err
	}
	return u.volume.Settle()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
