package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk/loopback"
)

// testMachine is the disks of a machine: a btrfs volume and an ext4 /boot that GRUB
// reads. The tests look at them with other means than the program that they test:
// the kernel, btrfs-progs, and a reader of GRUB's environment block.
type testMachine struct {
	t          testing.TB
	work       string // where configuration, command line and update are
	plugins    string // directory of the plugin programs
	systems    string // directory of the root filesystems
	fs, boot   *loopback.Device
	volumeSize int64
	bootSize   int64
}

// pluginSources are the plugin programs of a test machine, and the packages that they
// are built from.
var pluginSources = map[string]string{
	"tbupdate-fs-btrfs":     "../../plugins/btrfs",
	"tbupdate-boot-extboot": "../../plugins/extboot",
}

// buildPlugins builds the plugin programs once for all tests of the package, into
// a directory that only root can write to.
func buildPlugins(t testing.TB, flags ...string) string {
	t.Helper()
	directory := t.TempDir()
	for program, source := range pluginSources {
		arguments := slices.Concat([]string{"build", "-o", filepath.Join(directory, program)}, flags, []string{source})
		output, err := exec.Command("go", arguments...).CombinedOutput()
		if err != nil {
			t.Fatalf("cannot build %s: %v\n%s", program, err, output)
		}
	}
	return directory
}

// makeSystem writes a small root filesystem: enough of one for the updater, with a
// kernel and its modules. The same version and kernel always give the same bytes.
func makeSystem(t testing.TB, directory, version, kernel string) {
	t.Helper()
	random := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", kernel))))
	image, initrd, module := make([]byte, 300_000), make([]byte, 500_000), make([]byte, 100_000)
	for _, content := range [][]byte{image, initrd, module} {
		if _, err := random.Read(content); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string][]byte{
		"etc/os-release":                             []byte("ID=test\nVERSION_ID=\"" + version + "\"\n"),
		"etc/fstab":                                  []byte("LABEL=root / btrfs ro 0 0\n"),
		"usr/bin/program":                            []byte("program of version " + version + "\n"),
		"usr/share/same":                             bytes.Repeat([]byte("the same in every version\n"), 10_000),
		"usr/share/only-" + version:                  []byte(version),
		"var/lib/database":                           []byte("state"),
		"var/log/messages":                           []byte("log"),
		"home/user/letter":                           []byte("dear"),
		"boot/vmlinuz-" + kernel:                     image,
		"boot/initrd.img-" + kernel:                  initrd,
		"usr/lib/modules/" + kernel + "/kernel/a.ko": module,
	}
	for name, content := range files {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, empty := range []string{"dev", "proc", "run", "sys", "tmp", "root", "srv"} {
		if err := os.MkdirAll(filepath.Join(directory, empty), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// install makes the disks, and puts the system in directory onto them the way the
// Debian installer does: into the subvolume @rootfs, with GRUB in /boot.
func (m *testMachine) install(directory string) {
	m.t.Helper()
	m.fs = loopback.New(m.t, loopback.Options{Filesystem: loopback.Btrfs, Size: m.volumeSize})
	m.boot = loopback.New(m.t, loopback.Options{Filesystem: loopback.Ext4, Size: m.bootSize,
		MkfsArguments: []string{"-O", "^64bit,^metadata_csum_seed,^orphan_file"}})
	m.withVolume(func(top string) {
		m.run("btrfs", "-q", "subvolume", "create", top+"/@rootfs")
		m.run("cp", "-a", directory+"/.", top+"/@rootfs/")
	})
	m.withBoot(func(top string) {
		m.run("mkdir", top+"/grub")
		m.write(top+"/grub/grub.cfg", "# GRUB of the distribution\nmenuentry 'Test' --id distribution {\n\tlinux /vmlinuz root=LABEL=root\n}\n"+
			"if [ -f ${config_directory}/custom.cfg ]; then\n\tsource ${config_directory}/custom.cfg\nelif [ -z \"${config_directory}\" -a -f $prefix/custom.cfg ]; then\n\tsource $prefix/custom.cfg\nfi\n")
		m.write(top+"/grub/grubenv", "# GRUB Environment Block\n"+strings.Repeat("#", 1024-25))
	})
	m.write(m.work+"/cmdline", "BOOT_IMAGE=/vmlinuz root="+m.fs.Path+" rootflags=subvol=@rootfs ro quiet\n")
}

// config gives the configuration for the disks as they are attached now.
func (m *testMachine) config() string {
	return fmt.Sprintf("[fs]\nplugin = \"btrfs\"\n[fs.config]\ndevice = %q\n[boot]\nplugin = \"extboot\"\n[boot.config]\ndevice = %q\n[plugins]\ndirs = [%q]\n# end of machine\n",
		m.fs.Path, m.boot.Path, m.plugins)
}

// waitForPlugins waits until the plugins of a program that was killed have ended
// what they were doing and are gone.
func (m *testMachine) waitForPlugins() {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if !m.pluginRuns() {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatal("a plugin outlives the program that started it")
		}
	}
}

// pluginRuns reports whether any process has one of the disks' devices mounted or
// open: the plugins of this machine, and not those of a test beside it.
func (m *testMachine) pluginRuns() bool {
	processes, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, process := range processes {
		content, err := os.ReadFile(process)
		if err != nil {
			continue // it ended meanwhile
		}
		for _, device := range []string{m.fs.Path, m.boot.Path} {
			if bytes.Contains(content, []byte(" "+device+" ")) {
				return true
			}
		}
	}
	return false
}

func (m *testMachine) write(path, content string) {
	m.t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *testMachine) run(program string, arguments ...string) string {
	m.t.Helper()
	command := exec.Command(program, arguments...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		m.t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(arguments, " "), err, output, stderr.Bytes())
	}
	return string(output)
}

// withVolume mounts the top level of the volume for the length of act.
func (m *testMachine) withVolume(act func(top string)) {
	m.t.Helper()
	top := m.fs.Mount(m.t, "subvolid=5")
	defer m.fs.Unmount(m.t, top)
	act(top)
}

// withBoot mounts the boot filesystem for the length of act.
func (m *testMachine) withBoot(act func(top string)) {
	m.t.Helper()
	top := m.boot.Mount(m.t)
	defer m.boot.Unmount(m.t, top)
	act(top)
}

// environment reads the variables of a GRUB environment block.
func (m *testMachine) environment(path string) map[string]string {
	m.t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(content)) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\n"), "="); ok {
			values[name] = value
		}
	}
	return values
}

// powerOn does what GRUB does with what stands in /boot: takes the trial as often as it
// has tries, else the default, and leaves the kernel command line of what it starts in the file
// cmdline. It fails the test when a file that the entry needs is missing.
func (m *testMachine) powerOn() {
	m.t.Helper()
	m.withBoot(func(top string) {
		block := top + "/tbupdate/grubenv"
		values := m.environment(block)
		id, script := values["tbupdate_default"], "boot.cfg"
		if trial := values["tbupdate_trial"]; trial != "" {
			id, script = trial, "trial.cfg"
			if tries, err := strconv.Atoi(values["tbupdate_tries"]); err == nil && tries > 1 && tries < 10 {
				m.run("grub-editenv", block, "set", fmt.Sprintf("tbupdate_tries=%d", tries-1))
			} else {
				m.run("grub-editenv", block, "unset", "tbupdate_trial")
			}
		}
		m.write(m.work+"/cmdline", m.commandLine(top, id, script)+"\n")
	})
}

// commandLine gives the kernel command line in an entry's script.
func (m *testMachine) commandLine(top, id, script string) string {
	m.t.Helper()
	content, err := os.ReadFile(filepath.Join(top, "tbupdate", id, script))
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		i := slices.Index(fields, "linux")
		if i < 0 {
			continue
		}
		kernel := strings.Trim(fields[i+1], `"'`)
		if _, err := os.Stat(filepath.Join(top, kernel)); err != nil {
			m.t.Fatalf("the entry of %s has no kernel: %v", id, err)
		}
		var arguments []string
		for _, field := range fields[i+2:] {
			field = strings.TrimRight(field, ";")
			if field == "then" || field == "" {
				break
			}
			arguments = append(arguments, strings.Trim(field, `"'`))
		}
		return "BOOT_IMAGE=" + kernel + " " + strings.Join(arguments, " ")
	}
	m.t.Fatalf("the script %s of %s starts no kernel:\n%s", script, id, content)
	return ""
}

// layout describes the volume as btrfs-progs and the kernel see it: one line for
// each subvolume with its version, whether it is read-only, and what is default.
func (m *testMachine) layout() string {
	m.t.Helper()
	var lines []string
	m.withVolume(func(top string) {
		standard := strings.Fields(m.run("btrfs", "subvolume", "get-default", top))[1]
		for line := range strings.Lines(m.run("btrfs", "subvolume", "list", top)) {
			fields := strings.Fields(line)
			id, name := fields[1], fields[len(fields)-1]
			if name == "tbupdate" {
				continue
			}
			mode := "rw"
			if strings.Contains(m.run("btrfs", "property", "get", "-ts", filepath.Join(top, name), "ro"), "true") {
				mode = "ro"
			}
			version := "-"
			if content, err := os.ReadFile(filepath.Join(top, name, "usr/bin/program")); err == nil {
				version = strings.TrimSpace(strings.TrimPrefix(string(content), "program of version "))
			}
			mark := ""
			if id == standard {
				mark = " default"
			}
			lines = append(lines, fmt.Sprintf("%s %s %s%s", name, version, mode, mark))
		}
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// fill writes a file onto the filesystem below top until only this many bytes are
// left for ordinary users of it; with 0 until nothing more goes in.
func (m *testMachine) fill(top string, leave uint64) {
	m.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(top, &st); err != nil {
		m.t.Fatal(err)
	}
	free := st.Bavail * uint64(st.Bsize)
	if free > leave {
		m.run("dd", "if=/dev/urandom", "of="+top+"/filler", "bs=4096", fmt.Sprintf("count=%d", (free-leave)/4096), "status=none", "conv=fsync")
	}
	if leave > 0 {
		return
	}
	f, err := os.OpenFile(top+"/filler", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; _, err = f.Write(block) {
	}
	if !errors.Is(err, unix.ENOSPC) {
		m.t.Fatal(err)
	}
	_ = f.Sync()
}
