package jail

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

// Directories of a tree that get a filesystem of their own.
const (
	snippetDirectory  = "etc/flash-kernel/ubootenv.d"
	defaultsDirectory = "etc/default"
	defaultsFile      = "flash-kernel"
	packageDefaults   = "usr/share/flash-kernel/default/flash-kernel"
)

// devices are what programs expect in /dev.
var devices = []string{"null", "zero", "full", "random", "urandom"}

// furnish mounts what flash-kernel needs over parts of the tree. Every place is found
// by an open directory that does not lead out of the tree, and mounted on through it.
func (j Job) furnish(tree *kernelset.Root) error {
	// Before /boot is covered.
	kernel, err := tree.Open(j.Kernel)
	if err != nil {
		return err
	}
	defer kernel.Close()
	var initrd *os.File
	if j.Initrd != "" {
		if initrd, err = tree.Open(j.Initrd); err != nil {
			return err
		}
		defer initrd.Close()
	}
	for _, dir := range []string{"boot", "dev", "tmp"} {
		if err := mountMemory(tree, dir, nil); err != nil {
			return err
		}
	}
	for name, file := range map[string]*os.File{"vmlinuz-" + j.Version: kernel, "initrd.img-" + j.Version: initrd} {
		if file == nil {
			continue
		}
		if err := bindFile(tree, file, "boot", name); err != nil {
			return err
		}
	}
	if err := bindDevices(tree); err != nil {
		return err
	}
	if err := bindOnto(tree, "/proc", "proc"); err != nil {
		return err
	}
	return j.configure(tree)
}

// configure adds the snippets, and flash-kernel's defaults where the package was
// unpacked and never configured.
func (j Job) configure(tree *kernelset.Root) error {
	if err := mountMemory(tree, snippetDirectory, j.Snippets); err != nil {
		return err
	}
	if file, err := tree.Open(path.Join(defaultsDirectory, defaultsFile)); err == nil {
		return file.Close()
	}
	text, err := readAll(tree, packageDefaults)
	if err != nil {
		return fmt.Errorf("%w: neither /%s/%s nor the package's own is there", ErrMissing, defaultsDirectory, defaultsFile)
	}
	return mountMemory(tree, defaultsDirectory, map[string]string{defaultsFile: text})
}

func bindReadOnly(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot bind %s: %w", from, err)
	}
	if err := unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("cannot make %s read-only: %w", to, err)
	}
	return nil
}

// mountMemory covers a directory of the tree with a memory filesystem, with the
// regular files that were in it when others are to be added.
func mountMemory(tree *kernelset.Root, dir string, add map[string]string) error {
	place, err := tree.Open(dir)
	if err != nil {
		return fmt.Errorf("%w: there is no directory /%s", ErrMissing, dir)
	}
	defer place.Close()
	files := map[string]string{}
	if add != nil {
		if files, err = regularFiles(tree, place, dir); err != nil {
			return err
		}
	}
	for name, text := range add {
		files[name] = text
	}
	// It takes memory only as far as it is filled.
	if err := unix.Mount("tmpfs", descriptor(place), "tmpfs", unix.MS_NOSUID, "mode=0755,size=128m"); err != nil {
		return fmt.Errorf("cannot mount a memory filesystem on /%s: %w", dir, err)
	}
	covered, err := tree.Open(dir) // what is mounted there now
	if err != nil {
		return err
	}
	defer covered.Close()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(descriptor(covered), name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func regularFiles(tree *kernelset.Root, dir *os.File, name string) (map[string]string, error) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list /%s: %w", name, err)
	}
	files := map[string]string{}
	for _, file := range names {
		text, err := readAll(tree, path.Join(name, file))
		if errors.Is(err, errNotRegular) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[file] = text
	}
	return files, nil
}

var errNotRegular = errors.New("not a regular file")

// most is how long a file of flash-kernel's configuration may be.
const most = 1 << 20

func readAll(tree *kernelset.Root, name string) (string, error) {
	file, err := tree.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(err, errNotRegular)
	}
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && len(data) > most {
		err = fmt.Errorf("/%s is longer than %d bytes", name, most)
	}
	return string(data), err
}

// descriptor names an open file, whatever its path is by now.
func descriptor(file *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", file.Fd()) }

// bindFile makes a file appear under another name, read-only.
func bindFile(tree *kernelset.Root, file *os.File, dir, name string) error {
	if strings.ContainsRune(name, '/') {
		return fmt.Errorf("%q is no file name", name)
	}
	place, err := tree.Open(dir)
	if err != nil {
		return err
	}
	defer place.Close()
	target := filepath.Join(descriptor(place), name)
	if err := os.WriteFile(target, nil, 0o644); err != nil {
		return err
	}
	return bindReadOnly(descriptor(file), target)
}

func bindDevices(tree *kernelset.Root) error {
	place, err := tree.Open("dev")
	if err != nil {
		return err
	}
	defer place.Close()
	for _, name := range devices {
		target := filepath.Join(descriptor(place), name)
		if err := os.WriteFile(target, nil, 0o644); err != nil {
			return err
		}
		if err := unix.Mount("/dev/"+name, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot bind /dev/%s: %w", name, err)
		}
	}
	return nil
}

func bindOnto(tree *kernelset.Root, from, dir string) error {
	place, err := tree.Open(dir)
	if err != nil {
		return fmt.Errorf("%w: there is no directory /%s", ErrMissing, dir)
	}
	defer place.Close()
	if err := unix.Mount(from, descriptor(place), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot bind %s: %w", from, err)
	}
	return nil
}
