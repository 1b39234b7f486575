package jail

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trebuchet-update/tbupdate/sdk/kernelset"
)

// What flash-kernel may write, before it is taken for something else than meant.
const (
	mostFiles = 64
	mostDepth = 8
)

// collect copies what flash-kernel wrote out of the jail.
func (j Job) collect(top string) error {
	// Opened anew: /boot is what is mounted there now.
	tree, err := kernelset.OpenRoot(top)
	if err != nil {
		return err
	}
	defer tree.Close()
	c := collector{tree: tree, to: filepath.Join(j.Scratch, Results), given: []string{"boot/vmlinuz-" + j.Version, "boot/initrd.img-" + j.Version}}
	return c.directory("boot", 0)
}

type collector struct {
	tree  *kernelset.Root
	to    string
	given []string // what was there before
	files int
}

func (c *collector) directory(dir string, depth int) error {
	if depth > mostDepth {
		return fmt.Errorf("%w: /%s goes too deep", ErrFailed, dir)
	}
	handle, err := c.tree.Open(dir)
	if err != nil {
		return err
	}
	defer handle.Close()
	names, err := handle.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("cannot list /%s: %w", dir, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := c.entry(path.Join(dir, name), depth); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) entry(name string, depth int) error {
	if slices.Contains(c.given, name) || strings.HasSuffix(name, ".bak") {
		return nil
	}
	file, err := c.tree.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return c.directory(name, depth+1)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: it made /%s, which is no file", ErrFailed, name)
	}
	if c.files++; c.files > mostFiles {
		return fmt.Errorf("%w: it made more than %d files", ErrFailed, mostFiles)
	}
	return copyTo(file, filepath.Join(c.to, strings.TrimPrefix(name, "boot/")))
}

func copyTo(from io.Reader, target string) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	to, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if closeErr := to.Close(); err == nil {
		err = closeErr
	}
	return err
}
