// Package flashtree gives tests root trees with the distribution's real flash-kernel,
// which is a set of shell scripts, in a userland of this machine's own programs. The
// two programs that would say what the tree is made for, dpkg and linux-version, are
// scripts that answer for arm64.
package flashtree

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// programs are what flash-kernel calls.
var programs = []string{
	"basename", "cat", "cp", "cut", "dash", "dirname", "find", "grep", "head", "ln", "mkdir", "mkimage", "mktemp",
	"mv", "readlink", "rm", "rmdir", "sed", "sort", "stat", "tail", "tr",
}

// Machine is the one of the database that New writes.
const Machine = "tbupdate,test board"

const database = "usr/share/flash-kernel/db/all.db"

// UseWholeDatabase lets flash-kernel of a tree read the package's own database, too,
// which takes a second.
func UseWholeDatabase(t testing.TB, dir string) {
	t.Helper()
	must(t, os.Rename(filepath.Join(dir, database+".whole"), filepath.Join(dir, database)))
}

// Snippet is what New puts into ubootenv.d for the board.
const Snippet = "if test -z \"${fdt_addr_r}\"; then setenv fdt_addr_r 0x43000000; fi\n"

// New makes a tree, without a kernel, in a directory that is there. deviceTree is the
// machine's.
func New(t testing.TB, dir string, deviceTree []byte) {
	t.Helper()
	for _, name := range []string{"boot", "dev", "proc", "tmp", "run", "sys", "etc/default", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64"} {
		must(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		must(t, os.Symlink("usr/"+name, filepath.Join(dir, name)))
	}
	run(t, "dpkg-deb", "-x", download(t), dir)
	for _, name := range programs {
		copyProgram(t, name, dir)
	}
	must(t, os.Symlink("dash", filepath.Join(dir, "usr/bin/sh")))
	write(t, dir, "usr/bin/dpkg", "#!/bin/sh\n[ \"$1\" = --print-architecture ] && echo arm64\n", 0o755)
	write(t, dir, "usr/bin/linux-version", "#!/bin/sh\ncase $1 in list) for k in /boot/vmlinuz-*; do echo \"${k#/boot/vmlinuz-}\"; done ;; sort) sort -V ;; *) exit 1 ;; esac\n", 0o755)
	write(t, dir, "etc/flash-kernel/db", "Machine: "+Machine+`
DTB-Id: test.dtb
Boot-Script-Path: /boot/boot.scr
U-Boot-Script-Name: bootscr.uboot-generic
Required-Packages: u-boot-tools

Machine: picky
Kernel-Flavors: arm64
DTB-Id: test.dtb
Boot-Script-Path: /boot/boot.scr
U-Boot-Script-Name: bootscr.uboot-generic

Machine: without script
DTB-Id: test.dtb
U-Boot-Kernel-Address: 0x00080000
U-Boot-Initrd-Address: 0x0
Boot-Kernel-Path: /boot/uImage
Boot-Initrd-Path: /boot/uInitrd

Machine: without device tree
Boot-Script-Path: /boot/boot.scr
U-Boot-Script-Name: bootscr.uboot-generic

Machine: other script
DTB-Id: test.dtb
Boot-Script-Path: /boot/boot.scr
U-Boot-Script-Name: bootscr.xgene-mustang
`, 0o644)
	must(t, os.MkdirAll(filepath.Join(dir, "etc/flash-kernel/ubootenv.d"), 0o755))
	// flash-kernel reads its database some twenty times, byte by byte.
	must(t, os.Rename(filepath.Join(dir, database), filepath.Join(dir, database+".whole")))
	write(t, dir, database, "", 0o644)
	write(t, dir, "etc/flash-kernel/ubootenv.d/10-board", Snippet, 0o644)
	write(t, dir, "etc/flash-kernel/dtbs/test.dtb", string(deviceTree), 0o644)
}

func write(t testing.TB, dir, name, text string, mode os.FileMode) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), mode))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, name string, arguments ...string) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), name, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, arguments, err, output)
	}
	return string(output)
}

// copyProgram copies a program of this machine with its libraries.
func copyProgram(t testing.TB, name, dir string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this test needs the Debian packages findutils, sed and u-boot-tools: %v", err)
	}
	copyFile(t, path, filepath.Join(dir, "usr/bin", name))
	for _, library := range regexp.MustCompile(`/\S+`).FindAllString(run(t, "ldd", path), -1) {
		target := filepath.Join(dir, library)
		must(t, os.MkdirAll(filepath.Dir(target), 0o755))
		if _, err := os.Stat(target); errors.Is(err, os.ErrNotExist) {
			copyFile(t, library, target)
		}
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, data, 0o755))
}

// download gives the path of flash-kernel's package. It is kept in the cache of what
// was downloaded.
func download(t testing.TB) string {
	t.Helper()
	folder := filepath.Join(module(t), "build/cache/debs-flash-kernel")
	must(t, os.MkdirAll(folder, 0o755))
	lock, err := os.Create(filepath.Join(folder, "lock"))
	must(t, err)
	defer lock.Close()
	must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	if found := packages(t, folder); found != "" {
		return found
	}
	// The package is for ARM only. A configuration of its own lets apt look at that
	// architecture without this machine's dpkg knowing of it.
	state := t.TempDir()
	config := filepath.Join(state, "apt.conf")
	must(t, os.MkdirAll(filepath.Join(state, "lists/partial"), 0o755))
	must(t, os.MkdirAll(filepath.Join(state, "cache/archives/partial"), 0o755))
	must(t, os.WriteFile(filepath.Join(state, "status"), nil, 0o644))
	must(t, os.WriteFile(config, []byte(`APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::State "`+state+`";
Dir::State::status "`+state+`/status";
Dir::Cache "`+state+`/cache";
`), 0o644))
	for _, arguments := range [][]string{{"-q", "update"}, {"-q", "download", "flash-kernel"}} {
		command := exec.CommandContext(t.Context(), "apt-get", arguments...)
		command.Env, command.Dir = append(os.Environ(), "APT_CONFIG="+config), state
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("this test needs Debian's package flash-kernel for arm64, and cannot download it: %v\n%s", err, output)
		}
	}
	fetched := packages(t, state)
	if fetched == "" {
		t.Fatal("apt-get download flash-kernel brought nothing")
	}
	data, err := os.ReadFile(fetched)
	must(t, err)
	kept := filepath.Join(folder, filepath.Base(fetched))
	must(t, os.WriteFile(kept+".part", data, 0o644))
	must(t, os.Rename(kept+".part", kept))
	return kept
}

func packages(t testing.TB, folder string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "flash-kernel_*_arm64.deb"))
	must(t, err)
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// module gives the top of this module.
func module(t testing.TB) string {
	t.Helper()
	return filepath.Dir(strings.TrimSpace(run(t, "go", "env", "GOMOD")))
}
