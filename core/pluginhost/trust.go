package pluginhost

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrUntrusted is the problem of a program that somebody other than root could
// have written or exchanged, or that has not the checksum it must have.
var ErrUntrusted = errors.New("is not trusted")

// openTrusted opens a plugin's program after making sure that nobody but root
// could have put it there or could change it.
//
// The rule: the program, every directory from / down and every symbolic link on
// the way is root's, and neither group nor others may write to it. A directory
// with the sticky bit that all may write to, as /tmp is, will do where the next
// component is a directory of root's: the kernel lets nobody else rename or
// remove that (inode(7)), and directories cannot be hard-linked into place.
//
// Every component is judged by its descriptor, and the next one is opened
// relative to that. So the file that was judged is the file that is opened, and
// there is no time in between in which it could be exchanged.
//
// An error reads on from the plugin's name: "is not trusted: …".
func openTrusted(name string) (*os.File, error) {
	w := &walk{todo: components(name), descriptor: -1}
	defer w.close()
	if err := w.enterRoot(); err != nil {
		return nil, err
	}
	for {
		if len(w.todo) == 0 {
			return nil, fmt.Errorf("is a directory: %s", w.path)
		}
		program, err := w.step()
		if program != nil || err != nil {
			return program, err
		}
	}
}

// maxLinks is the kernel's own limit for symbolic links on one way
// (path_resolution(7)).
const maxLinks = 40

// walk is a place in the file tree and the way that is still to go.
type walk struct {
	descriptor int      // of the directory where we are
	path       string   // of that directory, for messages
	shared     bool     // everybody may write to it, with the sticky bit
	todo       []string // components
	links      int
}

func components(name string) []string {
	var list []string
	for component := range strings.SplitSeq(name, "/") {
		if component != "" && component != "." {
			list = append(list, component)
		}
	}
	return list
}

func (w *walk) close() {
	if w.descriptor >= 0 {
		_ = unix.Close(w.descriptor) // O_PATH: nothing to lose
	}
	w.descriptor = -1
}

func (w *walk) enterRoot() error {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot be opened: open /: %w", err)
	}
	return w.enter(fd, "/")
}

// enter makes fd, which it takes over, the place where we are.
func (w *walk) enter(fd int, name string) error {
	w.close()
	w.descriptor, w.path = fd, name
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return fmt.Errorf("cannot be judged: stat %s: %w", name, err)
	}
	w.shared = stat.Mode&0o022 != 0 && stat.Mode&unix.S_ISVTX != 0
	if w.shared {
		return judgeOwner(name, &stat)
	}
	return judgeWritable(name, &stat)
}

// step goes one component further. It gives the program once it is reached.
func (w *walk) step() (*os.File, error) {
	name := path.Join(w.path, w.todo[0])
	fd, err := unix.Openat(w.descriptor, w.todo[0], unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%w: %s does not exist", ErrNotFound, name)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be opened: %s: %w", name, err)
	}
	w.todo = w.todo[1:]
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot be judged: stat %s: %w", name, err)
	}
	if stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil, w.enter(fd, name)
	}
	defer func() { _ = unix.Close(fd) }() // O_PATH: nothing to lose
	if w.shared {
		return nil, fmt.Errorf("%w: everybody may write to %s, where it is; only a directory of root's is safe there", ErrUntrusted, w.path)
	}
	switch {
	case stat.Mode&unix.S_IFMT == unix.S_IFLNK:
		return nil, w.follow(fd, name, &stat)
	case len(w.todo) > 0:
		return nil, fmt.Errorf("%w: %s is not a directory", ErrNotFound, name)
	}
	return openProgram(fd, name, &stat)
}

// follow puts the target of a symbolic link in front of the way to go.
func (w *walk) follow(fd int, name string, stat *unix.Stat_t) error {
	if err := judgeOwner(name, stat); err != nil {
		return err
	}
	if w.links++; w.links > maxLinks {
		return fmt.Errorf("cannot be opened: %s: %w", name, unix.ELOOP)
	}
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buffer)
	if err != nil {
		return fmt.Errorf("cannot be opened: read link %s: %w", name, err)
	}
	target := string(buffer[:n])
	w.todo = append(components(target), w.todo...)
	if path.IsAbs(target) {
		return w.enterRoot()
	}
	return nil
}

// openProgram opens for reading what fd, an O_PATH descriptor, stands for.
func openProgram(fd int, name string, stat *unix.Stat_t) (*os.File, error) {
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("is not a plain file: %s", name)
	}
	if err := judgeWritable(name, stat); err != nil {
		return nil, err
	}
	if stat.Mode&0o111 == 0 {
		return nil, fmt.Errorf("is not executable: %s has mode %04o", name, stat.Mode&0o7777)
	}
	file, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return nil, fmt.Errorf("cannot be opened: %s: %w", name, err)
	}
	return file, nil
}

func judgeOwner(name string, stat *unix.Stat_t) error {
	if stat.Uid != 0 {
		return fmt.Errorf("%w: %s belongs to user %d and not to root", ErrUntrusted, name, stat.Uid)
	}
	return nil
}

func judgeWritable(name string, stat *unix.Stat_t) error {
	if err := judgeOwner(name, stat); err != nil {
		return err
	}
	// An access control list that lets anybody else write shows as the group's
	// permission (acl(5)).
	if stat.Mode&0o022 != 0 {
		return fmt.Errorf("%w: others than root may write to %s (mode %04o)", ErrUntrusted, name, stat.Mode&0o7777)
	}
	return nil
}

// checkSum compares the content of the open file with a SHA-256 in hex.
func checkSum(file *os.File, want string) error {
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	if have := hex.EncodeToString(hash.Sum(nil)); have != strings.ToLower(want) {
		return fmt.Errorf("%w: its SHA-256 is %s, the configuration demands %s", ErrUntrusted, have, want)
	}
	return nil
}
