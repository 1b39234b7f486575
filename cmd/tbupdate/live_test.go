package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// liveMachine runs the program the way a device does: / is the subvolume that was
// booted, /boot is mounted, /proc says what the kernel was started with, and no
// configuration says where anything is. Only the kernel is the host's.
type liveMachine struct {
	*testMachine
	binaries string   // the programs as "make build" gives them
	root     string   // where / of the machine is mounted, "" while it is off
	mounts   []string // in the order of mounting
}

// boot mounts what the kernel command line in the file cmdline asks for.
func (m *liveMachine) boot() {
	m.t.Helper()
	commandLine, err := os.ReadFile(m.work + "/cmdline")
	if err != nil {
		m.t.Fatal(err)
	}
	m.root = m.t.TempDir()
	flags := ""
	for _, argument := range strings.Fields(string(commandLine)) {
		if value, ok := strings.CutPrefix(argument, "rootflags="); ok {
			flags = value
		}
	}
	m.mount(m.fs.Path, "", "btrfs", unix.MS_RDONLY, flags)
	m.mount("proc", "proc", "proc", 0, "")
	m.mount("tmpfs", "run", "tmpfs", 0, "mode=755")
	m.mount("tmpfs", "tmp", "tmpfs", 0, "mode=1777")
	m.mount("/dev", "dev", "", unix.MS_BIND, "")
	m.mount("/sys", "sys", "", unix.MS_BIND|unix.MS_REC, "")
	m.mount(m.testMachine.boot.Path, "boot", "ext4", 0, "")
	for name, content := range map[string]string{"cmdline": string(commandLine), "sys/kernel/random/boot_id": uuid.NewString() + "\n"} {
		said := m.root + "/run/said-" + filepath.Base(name)
		m.write(said, content)
		m.mount(said, "proc/"+name, "", unix.MS_BIND, "")
	}
	m.run("mkdir", m.root+"/run/test")
	m.run("cp", "-r", m.binaries, m.root+"/run/test/bin")
	m.run("cp", m.work+"/update", m.root+"/run/test/")
}

func (m *liveMachine) mount(source, at, filesystem string, flags uintptr, data string) {
	m.t.Helper()
	target := filepath.Join(m.root, at)
	if err := unix.Mount(source, target, filesystem, flags, data); err != nil {
		m.t.Fatalf("cannot mount %s on /%s: %v", source, at, err)
	}
	m.mounts = append(m.mounts, target)
}

// halt unmounts everything.
func (m *liveMachine) halt() {
	m.t.Helper()
	for i := len(m.mounts) - 1; i >= 0; i-- {
		if err := unix.Unmount(m.mounts[i], unix.MNT_DETACH); err != nil {
			m.t.Errorf("cannot unmount %s: %v", m.mounts[i], err)
		}
	}
	m.mounts, m.root = nil, ""
}

// reboot starts the machine again as the boot loader decides.
func (m *liveMachine) reboot() {
	m.t.Helper()
	m.halt()
	m.powerOn()
	m.boot()
}

// do runs the program on the machine, which must end with this exit code, and gives
// what it printed.
func (m *liveMachine) do(code int, arguments ...string) string {
	m.t.Helper()
	command := &exec.Cmd{
		Path: "/run/test/bin/tbupdate", Args: append([]string{"tbupdate", "--fs", "btrfs", "--boot", "extboot"}, arguments...),
		Dir: "/", Env: []string{"PATH=/usr/bin"}, SysProcAttr: &syscall.SysProcAttr{Chroot: m.root},
	}
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if command.ProcessState == nil || command.ProcessState.ExitCode() != code {
		m.t.Fatalf("%s: %v, want exit code %d\n%s%s", strings.Join(command.Args, " "), err, code, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String() + stderr.String()
}

// expect compares the state of the machine, and which versions run and boot by
// default, with what they should be.
func (m *liveMachine) expect(state, running, standard string) {
	m.t.Helper()
	var status struct {
		State, Booted, Default string
		Generations            []struct{ ID, Version string }
	}
	output := m.do(0, "--json", "status")
	if err := json.Unmarshal([]byte(output), &status); err != nil {
		m.t.Fatalf("%v\n%s", err, output)
	}
	versions := map[string]string{"": "none"}
	for _, g := range status.Generations {
		versions[g.ID] = g.Version
	}
	got := fmt.Sprintf("%s, runs %s, default %s", status.State, versions[status.Booted], versions[status.Default])
	if want := fmt.Sprintf("%s, runs %s, default %s", state, running, standard); got != want {
		m.t.Errorf("the machine is: %s\nit should be: %s", got, want)
	}
	program, err := os.ReadFile(m.root + "/usr/bin/program")
	if err != nil || !strings.Contains(string(program), running) && running != "none" {
		m.t.Errorf("what runs is %q, %v; want version %s", program, err, running)
	}
}

// TestRunningMachine updates a machine from within: its root is mounted as / while
// its name goes to another subvolume.
func TestRunningMachine(t *testing.T) {
	m := newLiveMachine(t)
	t.Cleanup(m.halt)
	m.takenIn(t)
	m.updated(t)
}

// newLiveMachine gives a running machine with version 1.0, which is not yet taken into
// the layout.
func newLiveMachine(t *testing.T) *liveMachine {
	t.Helper()
	binaries := t.TempDir()
	for program, source := range map[string]string{"tbupdate": ".", "plugins/tbupdate-fs-btrfs": "../../plugins/btrfs", "plugins/tbupdate-boot-extboot": "../../plugins/extboot"} {
		build := exec.Command("go", "build", "-o", filepath.Join(binaries, program), source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			t.Fatalf("cannot build %s: %v\n%s", program, err, output)
		}
	}
	systems := t.TempDir()
	makeSystem(t, systems+"/v1", "1.0", "6.1.0-1")
	makeSystem(t, systems+"/v2", "2.0", "6.1.0-2")
	if err := writeDelta(systems+"/update", systems+"/v1", systems+"/v2"); err != nil {
		t.Fatal(err)
	}
	m := &liveMachine{testMachine: newMachine(t, "", systems), binaries: binaries}
	m.install(systems + "/v1")
	m.boot()
	return m
}

// takenIn: an installed system runs from the layout after init and a reboot.
func (m *liveMachine) takenIn(t *testing.T) {
	t.Helper()
	// An installed system is taken in, and runs from the layout after a reboot.
	m.do(0, "init")
	m.expect("idle", "none", "1.0")
	if output := m.do(6, "apply", "--allow-unsigned", "/run/test/update"); !strings.Contains(output, "reboot first") {
		t.Errorf("an update of what is not a generation: %s", output)
	}
	m.reboot()
	m.expect("idle", "1.0", "1.0")
}

// updated goes through updates, good and bad.
func (m *liveMachine) updated(t *testing.T) {
	t.Helper()
	// An update, while the old root goes on running under another name.
	m.do(0, "apply", "--allow-unsigned", "--no-reboot", "/run/test/update")
	m.expect("trial", "1.0", "1.0")
	if output := m.do(0, "recover"); !strings.Contains(output, "Everything is in order") {
		t.Errorf("recover before the reboot: %s", output)
	}
	m.expect("trial", "1.0", "1.0")

	// The trial fails: the machine comes back.
	m.halt()
	m.powerOn()
	m.reboot()
	if output := m.do(6, "apply", "--allow-unsigned", "/run/test/update"); !strings.Contains(output, "was not judged yet") {
		t.Errorf("an update before the boot was judged: %s", output)
	}
	if output := m.do(0, "recover"); !strings.Contains(output, "was rolled back and is marked failed") {
		t.Errorf("recover after a failed trial: %s", output)
	}
	m.expect("idle", "1.0", "1.0")

	// Again, and it works.
	m.do(0, "apply", "--force", "--allow-unsigned", "--no-reboot", "/run/test/update")
	m.reboot()
	m.do(0, "recover")
	m.expect("trial", "2.0", "1.0")
	m.do(0, "confirm")
	m.expect("idle", "2.0", "2.0")

	// Back by hand, while the newer root runs.
	m.do(0, "rollback")
	m.expect("rolling-back", "2.0", "1.0")
	m.reboot()
	m.do(0, "recover")
	m.expect("idle", "1.0", "1.0")
	if output := m.do(1, "check"); strings.Contains(output, "blocking  layout") || strings.Contains(output, "runs from") {
		t.Errorf("check finds fault with the layout:\n%s", output)
	} else {
		for _, finding := range []string{"warning   health: There is no health check of this machine's own", "warning   watchdog: There is none"} {
			if !strings.Contains(output, finding) {
				t.Errorf("check lacks %q:\n%s", finding, output)
			}
		}
		if strings.Contains(output, "Nobody ran tbupdate recover") {
			t.Errorf("recover was run on this boot:\n%s", output)
		}
	}
	m.reboot()
	if output := m.do(1, "check"); !strings.Contains(output, "warning   boot: Nobody ran tbupdate recover on this boot") {
		t.Errorf("check does not miss recover:\n%s", output)
	}
}

// configure writes the configuration of the machine, which is gone after a reboot.
func (m *liveMachine) configure(lines ...string) {
	m.t.Helper()
	m.write(m.root+"/run/test/config.toml", strings.Join(append([]string{"[update]", `health = "/run/test/health.d"`}, lines...), "\n")+"\n")
}

// withConfig runs the program with that configuration.
func (m *liveMachine) withConfig(code int, arguments ...string) string {
	m.t.Helper()
	return m.do(code, append([]string{"--config", "/run/test/config.toml"}, arguments...)...)
}

// TestTrialWithThreeTries boots a trial that is unhealthy the first time, crashes the
// second and hangs the third: each try is told from the others, and the old version
// has the whole story.
func TestTrialWithThreeTries(t *testing.T) {
	m := newLiveMachine(t)
	t.Cleanup(m.halt)
	m.takenIn(t)
	m.crashed("dmesg-ramoops-0", "Oops#1 Part1\n<4>[  100.0] Kernel panic - not syncing: long ago\n")
	m.configure("tries = 3")
	m.withConfig(0, "apply", "--allow-unsigned", "--no-reboot", "/run/test/update")
	if output := m.withConfig(0, "status"); !strings.Contains(output, "armed for 3 more boot(s) of 3") {
		t.Errorf("three tries are not told of:\n%s", output)
	}

	// It is unhealthy.
	m.reboot()
	m.configure()
	m.withConfig(0, "recover")
	m.run("mkdir", m.root+"/run/test/health.d")
	m.run("cp", "/bin/busybox", m.root+"/run/test/sh")
	m.write(m.root+"/run/test/health.d/30-modem", "#!/run/test/sh\necho no carrier\nexit 1\n")
	m.run("chmod", "755", m.root+"/run/test/health.d/30-modem")
	output := m.withConfig(1, "confirm", "--check", "--no-reboot")
	for _, said := range []string{"passed  root", "FAILED  30-modem", "failed: health check 30-modem failed: no carrier (exit status 1); it is left running"} {
		if !strings.Contains(output, said) {
			t.Errorf("the judgement lacks %q:\n%s", said, output)
		}
	}

	// It crashes, and the kernel's last words are found at the next boot.
	m.reboot()
	m.do(0, "recover")
	m.reboot()
	m.crashed("dmesg-ramoops-0", "Oops#1 Part1\n<4>[  100.0] Kernel panic - not syncing: long ago\n")
	m.crashed("dmesg-ramoops-1", "Panic#1 Part1\n<0>[    2.2] Kernel panic - not syncing: Attempted to kill init!\n")
	m.do(0, "recover")
	m.expect("trial", "2.0", "1.0")
	if _, err := os.Stat(m.root + "/sys/fs/pstore/dmesg-ramoops-1"); err == nil {
		t.Error("the record of the crash takes up its room still")
	}

	// It hangs: that was the last try.
	m.reboot()
	m.expect("trial", "1.0", "1.0")
	const reason = "health check 30-modem failed: no carrier (exit status 1); the kernel crashed: Kernel panic - not syncing: Attempted to kill init! (after 3 tries)"
	if output := m.do(0, "recover"); !strings.Contains(output, reason) {
		t.Errorf("the reason is not %q:\n%s", reason, output)
	}
	m.expect("idle", "1.0", "1.0")
	if output := m.do(0, "history"); !strings.Contains(output, reason+" [tbupdate evidence ") {
		t.Errorf("the history lacks the reason or the evidence:\n%s", output)
	}
	kept := m.do(0, "evidence")
	for _, file := range []string{"1-health.json", "1-health.txt", "1-kernel.log", "crash-dmesg-ramoops-1"} {
		if !strings.Contains(kept, file+" ") {
			t.Errorf("the evidence lacks %s:\n%s", file, kept)
		}
	}
	if output := m.do(3, "apply", "--allow-unsigned", "/run/test/update"); !strings.Contains(output, "this very update failed") {
		t.Errorf("the failed update again: %s", output)
	}
}

// crashed puts a record of a crash to where the kernel would, until the next reboot. It
// is as old as its text.
func (m *liveMachine) crashed(name, content string) {
	m.t.Helper()
	if _, err := os.Stat(m.root + "/sys/fs/pstore/test"); err != nil {
		m.mount("tmpfs", "sys/fs/pstore", "tmpfs", 0, "")
		m.write(m.root+"/sys/fs/pstore/test", "")
	}
	path := m.root + "/sys/fs/pstore/" + name
	m.write(path, content)
	when := time.Unix(int64(len(content))*1_000_000, 0)
	if err := os.Chtimes(path, when, when); err != nil {
		m.t.Fatal(err)
	}
}
