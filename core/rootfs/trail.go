package rootfs

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/tbdiff"
)

// openLevels is how many of the deepest directories of a trail have open handles,
// so that a deep tree does not use up the process's.
const openLevels = 64

// trail is the way from the top of a tree to the directory that a stream is in.
type trail struct {
	levels []level // the first is the top, whose handle belongs to the Tree
}

// level is one directory of a trail.
type level struct {
	name     string   // in the directory above; "" for the top
	handle   int      // -1 while it is closed
	identity identity // once it was closed: see openParent
	// inherits is true when what is made here inherits an access control list.
	// It is found out when it is first asked for.
	inherits, inheritsKnown bool
}

// identity tells one file from all others of the machine.
type identity struct{ device, inode uint64 }

func identityOf(st *unix.Stat_t) identity { return identity{uint64(st.Dev), st.Ino} }

func newTrail(top int) *trail {
	return &trail{levels: []level{{handle: top}}}
}

// here gives the handle of the directory that the stream is in.
func (t *trail) here() int { return t.last().handle }

func (t *trail) last() *level { return &t.levels[len(t.levels)-1] }

// enter goes one directory down.
func (t *trail) enter(name string) error {
	handle, err := openDirectory(t.here(), name)
	if err != nil {
		return fmt.Errorf("cannot enter directory: %w", explain(t.here(), name, err))
	}
	t.levels = append(t.levels, level{name: name, handle: handle})
	if far := len(t.levels) - 1 - openLevels; far > 0 {
		return t.levels[far].suspend()
	}
	return nil
}

// leave goes back up and sets the modification time of the directory left.
func (t *trail) leave(mtime uint64) error {
	if len(t.levels) == 1 {
		return fmt.Errorf("%w: it leaves the top directory", tbdiff.ErrUnsafe)
	}
	if err := setHandleTime(t.here(), mtime); err != nil {
		return fmt.Errorf("cannot set the time of directory: %w", explain(t.here(), "", err))
	}
	return t.up()
}

// up goes back to the directory above.
func (t *trail) up() error {
	above := &t.levels[len(t.levels)-2]
	if above.handle < 0 {
		handle, err := openParent(t.here(), above.identity)
		if err != nil {
			return fmt.Errorf("cannot leave directory: %w", err)
		}
		above.handle = handle
	}
	t.last().release()
	t.levels = t.levels[:len(t.levels)-1]
	return nil
}

// to goes to the directory of this path, by the shortest way; "" is the top.
func (t *trail) to(directory string) error {
	var names []string
	if directory != "" {
		names = strings.Split(directory, "/")
	}
	common := 0
	for common < len(names) && common+1 < len(t.levels) && t.levels[common+1].name == names[common] {
		common++
	}
	for len(t.levels)-1 > common {
		if err := t.up(); err != nil {
			return err
		}
	}
	for _, name := range names[common:] {
		if err := t.enter(name); err != nil {
			return fmt.Errorf("directory %q of its path: %w", name, err)
		}
	}
	return nil
}

// close releases all handles but the top's.
func (t *trail) close() {
	for i := range t.levels[1:] {
		t.levels[i+1].release()
	}
	t.levels = t.levels[:1]
}

// suspend releases the handle of a directory that openParent is to find again.
func (l *level) suspend() (err error) {
	if l.handle >= 0 {
		l.identity, err = identify(l.handle)
		l.release()
	}
	return err
}

func (l *level) release() {
	if l.handle >= 0 {
		unix.Close(l.handle)
		l.handle = -1
	}
}

// inheritsACL says whether new entries of the directory get an access control list
// that no stream asked for.
func (l *level) inheritsACL() (bool, error) {
	if l.inheritsKnown {
		return l.inherits, nil
	}
	_, err := unix.Fgetxattr(l.handle, xattrDefaultACL, nil)
	switch {
	case err == nil:
		l.inherits = true
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP):
	default:
		return false, fmt.Errorf("cannot read the default access control list of its directory: %w", err)
	}
	l.inheritsKnown = true
	return l.inherits, nil
}

// openDirectory opens the directory name in dir, following nothing.
func openDirectory(dir int, name string) (int, error) {
	return openBeneath(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
}

func identify(handle int) (identity, error) {
	var st unix.Stat_t
	err := unix.Fstat(handle, &st)
	return identityOf(&st), err
}

// openParent opens the directory above dir, which must be the one that it was
// entered from.
func openParent(dir int, want identity) (int, error) {
	handle, err := unix.Openat(dir, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	got, err := identify(handle)
	if err == nil && got != want {
		err = fmt.Errorf("%w: it was moved while the stream was in it", ErrOriginMismatch)
	}
	if err != nil {
		unix.Close(handle)
		return -1, err
	}
	return handle, nil
}
