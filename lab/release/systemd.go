package release

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/trebuchet-update/tbupdate/lab/command"
	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
)

// unneeded is what a distribution's tree has, and a machine of the lab can do without:
// all of a tree is read and measured by an emulated processor.
var unneeded = []string{"boot/*", "vmlinuz*", "initrd.img*", "usr/lib/modules", "usr/share/doc", "usr/share/man", "usr/share/locale",
	"usr/share/i18n", "usr/share/info", "usr/share/factory", "usr/share/zoneinfo", "usr/lib/sysimage", "usr/lib/python3*"}

// masked are units that would only keep the processor busy.
var masked = []string{"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
	"fstrim.timer", "systemd-timesyncd.service", "getty@tty1.service", "serial-getty@ttyS0.service"}

// units are those of the lab, in /etc/systemd/system.
var units = map[string]string{
	"lab-agent.service": `[Unit]
Description=The lab's agent
[Service]
ExecStart=/usr/lib/lab/agent service
Restart=always
[Install]
WantedBy=multi-user.target
`,
	// It says when the boot has been judged, as the small system's init does.
	"lab-late.service": `[Unit]
Description=Tell the lab that the boot has been judged
DefaultDependencies=no
After=tbupdate-confirm.service multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'printf "\\n` + protocol.Late + ` exit=0\\n" >/dev/console'
[Install]
WantedBy=basic.target
`,
	"lab-application.service": `[Unit]
Description=The application
[Service]
Type=oneshot
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
`,
}

// enabled are units that the machine's image builder enables, besides the lab's own.
var enabled = []string{"tbupdate-recover.service", "tbupdate-guard.service", "tbupdate-confirm.service", "systemd-boot-check-no-failures.service"}

// hangUnit has process 1 crash: systemd then freezes, and no longer tends the watchdog.
const hangUnit = `[Unit]
Description=The defect of this release
After=lab-agent.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'printf "\\n` + protocol.Defect + " " + protocol.DefectHang + `\\n" >/dev/console; kill -SEGV 1'
[Install]
WantedBy=multi-user.target
`

// addDistribution starts a tree with that of a distribution, whose init is systemd.
func (b *Builder) addDistribution(ctx context.Context, r Release, path string) error {
	if _, err := command.Run(ctx, nil, "cp", "-a", b.Kernels[0].Tree, path); err != nil {
		return err
	}
	for _, pattern := range unneeded {
		found, err := filepath.Glob(filepath.Join(path, pattern))
		if err != nil {
			return err
		}
		for _, file := range found {
			if err := os.RemoveAll(file); err != nil {
				return err
			}
		}
	}
	return b.addModel(r, path)
}

// addUnits adds what is text, and enables units.
func (b *Builder) addUnits(ctx context.Context, r Release, path string) error {
	files := map[string]string{
		"etc/os-release": "NAME=\"Lab\"\nID=lab\nIMAGE_ID=lab\nIMAGE_VERSION=" + r.Version + "\n",
		"etc/hostname":   "lab\n",
		// Without one each generation's first boot would be a first boot to systemd.
		"etc/machine-id": "0123456789abcdef0123456789abcdef\n",
	}
	wanted := enabled
	for name, text := range units {
		if name == "lab-application.service" && r.Defect == Unhealthy {
			text = strings.Replace(text, "/bin/true", "/bin/false", 1)
		}
		files["etc/systemd/system/"+name] = text
		wanted = append(wanted[:len(wanted):len(wanted)], name)
	}
	if r.Defect == Hang {
		files["etc/systemd/system/lab-hang.service"] = hangUnit
		wanted = append(wanted, "lab-hang.service")
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, text := range b.units {
		if err := os.WriteFile(filepath.Join(path, "usr/lib/systemd/system", name), text, 0o644); err != nil {
			return err
		}
	}
	for _, name := range masked {
		if err := os.Symlink("/dev/null", filepath.Join(path, "etc/systemd/system", name)); err != nil && !os.IsExist(err) {
			return err
		}
	}
	_, err := command.Run(ctx, nil, "chroot", append([]string{path, "systemctl", "--quiet", "enable"}, wanted...)...)
	return err
}

// readUnits gives the project's own units by name.
func readUnits(top string) (map[string][]byte, error) {
	paths, err := filepath.Glob(filepath.Join(top, "system/*.service"))
	if err != nil {
		return nil, err
	}
	found := map[string][]byte{}
	for _, path := range paths {
		if found[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	return found, nil
}
