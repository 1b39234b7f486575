package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/trebuchet-update/tbupdate/lab/guest/protocol"
	"github.com/trebuchet-update/tbupdate/sdk/cmdline"
)

// up waits for the next guest that is up.
func (p *player) up() error {
	ctx, cancel := p.within(bootLimit)
	defer cancel()
	running, position, err := p.machine.AwaitUp(ctx, p.position)
	if err != nil {
		return err
	}
	p.result.Boots++
	p.running, p.position, p.booted = running, position, position
	return nil
}

// runs waits for a guest and judges it.
func (p *player) runs(ts *testscript.TestScript, words []string) error {
	trial := len(words) == 2 && words[1] == "trial"
	if len(words) == 0 || len(words) > 2 || len(words) == 2 && !trial {
		return errors.New("usage: runs VERSION [trial]")
	}
	if err := p.up(); err != nil {
		return err
	}
	p.recovered(ts, p.running)
	return p.judge(words[0], trial)
}

// comesBackTo waits for the version that the machine has to come back to.
func (p *player) comesBackTo(ts *testscript.TestScript, words []string) error {
	if len(words) != 1 {
		return errors.New("usage: comes-back-to VERSION")
	}
	// The trial itself may come up before, once for each of its tries.
	const most = 10
	for range most {
		if err := p.up(); err != nil {
			return err
		}
		if !p.running.Trial {
			break
		}
	}
	if p.failure == nil {
		return errors.New("there was no failure to come back from")
	}
	p.recovered(ts, p.running)
	return p.judge(words[0], false)
}

// judge compares what runs with a release: as a whole, or it is a mix.
func (p *player) judge(version string, trial bool) error {
	wanted, err := p.releaseOf(version)
	if err != nil {
		return err
	}
	have, err := p.look()
	if err != nil {
		return err
	}
	return expect("what runs", map[string]string{
		"version": version, "trial": fmt.Sprint(trial),
		"kernel": wanted.Kernel.Release, "modules": wanted.Kernel.Release,
		"pinned root": have["subvolume"], // the command line's is that of the mount table
		"generation":  have["booted"],    // the command line's is what status says
	}, have)
}

// look asks the guest's kernel, not the updater, what runs.
func (p *player) look() (map[string]string, error) {
	ctx, cancel := p.within(eventLimit)
	defer cancel()
	// One command, since each costs an emulated processor a tenth of a second.
	const marker = "--lab--"
	output, err := p.machine.Shell(ctx, strings.Join([]string{
		"cat /proc/cmdline", "uname -r", "ls /usr/lib/modules", "grep ' / ' /proc/mounts", ". /etc/os-release; echo $IMAGE_VERSION", "tbupdate --json status"},
		"; echo "+marker+"; "))
	if err != nil {
		return nil, err
	}
	parts := strings.Split(output, marker)
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	const commands = 6
	if len(parts) != commands {
		return nil, fmt.Errorf("cannot understand what the guest says: %q", output)
	}
	arguments := map[string]string{}
	for _, argument := range cmdline.Split(parts[0]) {
		name, value, _ := cmdline.Cut(argument)
		arguments[name] = value
	}
	status, err := parseStatus(parts[5])
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"version": parts[4], "trial": fmt.Sprint(arguments["tbupdate.trial"] == "1"),
		"kernel": parts[1], "modules": parts[2],
		"pinned root": subvolumeID(arguments["rootflags"]), "subvolume": subvolumeID(parts[3]),
		"generation": arguments["tbupdate.generation"], "booted": status.Booted,
	}, nil
}

var subvolumeOption = regexp.MustCompile(`\bsubvolid=(\d+)`)

// subvolumeID finds the id in mount options.
func subvolumeID(options string) string {
	match := subvolumeOption.FindStringSubmatch(options)
	if match == nil {
		return "none"
	}
	return match[1]
}

// status is what "tbupdate status --json" prints, as far as stories ask.
type status struct {
	Booted      string `json:"booted"`
	Default     string `json:"default"`
	Trial       string `json:"trial"`
	State       string `json:"state"`
	Generations []struct {
		ID      string `json:"id"`
		Version string `json:"version"`
		State   string `json:"state"`
	} `json:"generations"`
}

func parseStatus(text string) (status, error) {
	var s status
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return status{}, fmt.Errorf("cannot parse the status %q: %w", text, err)
	}
	return s, nil
}

// values gives the status with versions instead of ids. Of two generations of a
// version the last one counts.
func (s status) values() map[string]string {
	versions := map[string]string{"": "none"}
	values := map[string]string{"state": s.State}
	for _, g := range s.Generations {
		versions[g.ID] = g.Version
		values[g.Version] = g.State
	}
	values["running"], values["default"], values["trial"] = versions[s.Booted], versions[s.Default], versions[s.Trial]
	return values
}

func (p *player) readStatus() (map[string]string, error) {
	ctx, cancel := p.within(eventLimit)
	defer cancel()
	output, err := p.machine.Shell(ctx, "tbupdate --json status")
	if err != nil {
		return nil, err
	}
	s, err := parseStatus(output)
	return s.values(), err
}

func (p *player) status(_ *testscript.TestScript, words []string) error {
	wanted, err := assignments(words)
	if err != nil {
		return err
	}
	have, err := p.readStatus()
	if err != nil {
		return err
	}
	return expect("tbupdate status", wanted, have)
}

// confirmed waits for the second half of the boot integration.
func (p *player) confirmed(*testscript.TestScript, []string) error {
	ctx, cancel := p.within(eventLimit)
	defer cancel()
	if _, _, err := p.machine.Console.Wait(ctx, p.booted, regexp.MustCompile(`^`+protocol.Late+` `)); err != nil {
		return err
	}
	have, err := p.readStatus()
	if err != nil {
		return err
	}
	version := p.running.Version
	return expect("tbupdate status", map[string]string{
		"running": version, "default": version, version: "good", "trial": "none", "state": "idle",
	}, have)
}

func (p *player) history(_ *testscript.TestScript, words []string) error {
	pattern, err := regexp.Compile(strings.Join(words, " "))
	if err != nil {
		return err
	}
	ctx, cancel := p.within(eventLimit)
	defer cancel()
	output, err := p.machine.Shell(ctx, "tbupdate history")
	if err != nil {
		return err
	}
	for line := range strings.Lines(output) {
		if pattern.MatchString(line) {
			return nil
		}
	}
	return fmt.Errorf("no line of the history is like %q:\n%s", pattern, output)
}

// subvolumeScript prints "NAME VERSION ACCESS" for each subvolume of the layout, by what is
// mounted and what btrfs-progs say.
const subvolumeScript = `mkdir -p /run/lab && mount -t btrfs -o subvolid=5 $(grep ' / btrfs' /proc/mounts | cut -d ' ' -f 1) /run/lab &&
for s in /run/lab/snapshots/*; do
	version=$(. $s/etc/os-release; echo $IMAGE_VERSION)
	case $(btrfs property get -ts $s ro) in *true*) access=read-only ;; *) access=writable ;; esac
	echo "${s##*/} $version $access"
done; echo "default $(btrfs subvolume get-default /run/lab)"; umount /run/lab`

func (p *player) subvolumes(_ *testscript.TestScript, words []string) error {
	wanted, err := assignments(words)
	if err != nil {
		return err
	}
	ctx, cancel := p.within(eventLimit)
	defer cancel()
	output, err := p.machine.Shell(ctx, subvolumeScript)
	if err != nil {
		return err
	}
	have := map[string]string{"root": "none", "current": "none", "previous": "none", "new": "none"}
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		switch {
		case fields[0] == "default":
			have["the default subvolume"] = fields[len(fields)-1]
		case len(fields) == 3:
			have[fields[0]] = fields[1]
			have["access of "+fields[0]] = fields[2]
		}
	}
	wanted["the default subvolume"], wanted["access of root"] = "snapshots/root", "writable"
	for _, name := range []string{"current", "previous"} {
		if version, asked := wanted[name]; asked && version != "none" {
			wanted["access of "+name] = "read-only"
		}
	}
	return expect("the volume", wanted, have)
}
