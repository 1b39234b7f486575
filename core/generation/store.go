package generation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked is returned by Lock while another process changes the machine.
var ErrLocked = errors.New("another update is in progress")

// Store keeps the journal and the history in the state directory of the volume,
// outside every generation, so that a roll-back does not roll them back.
type Store struct {
	directory string
}

// File names in the state directory.
const (
	journalFile = "journal.json"
	historyFile = "history.jsonl"
	lockFile    = "lock"
)

// NewStore works in this directory, which must exist.
func NewStore(directory string) *Store { return &Store{directory: directory} }

// Load reads the journal. A machine that has none yet gets an empty one.
func (s *Store) Load() (*Journal, error) {
	document, err := os.ReadFile(filepath.Join(s.directory, journalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return &Journal{Format: FormatVersion}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal: %w", err)
	}
	return Decode(document)
}

// Save replaces the journal durably: after a loss of power at any instant there
// is the old one or the new one, whole. It works on a full volume, too: room for
// the next one is set aside each time.
func (s *Store) Save(j *Journal) error {
	document, err := Encode(j)
	if err != nil {
		return err
	}
	path := filepath.Join(s.directory, journalFile)
	err = replaceFile(path, document)
	if errors.Is(err, unix.ENOSPC) {
		// What earlier journals gave back is free only after a commit.
		if err = syncVolume(s.directory); err == nil {
			err = replaceFile(path, document)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot write the journal: %w", err)
	}
	setAside(path+nextSuffix, int64(len(document)))
	return nil
}

// nextSuffix marks the file that becomes the journal with the next Save.
const nextSuffix = ".next"

// replaceFile writes beside the file and renames over it. The content is flushed
// before the rename, which closes the window in which the name leads to an empty
// file, and the directory after it, without which the rename itself could be lost
// although the step that it announces was already taken.
//
// The file beside it is not cut before it is written, so that what setAside
// allocated for it is used.
func replaceFile(path string, content []byte) (err error) {
	next := path + nextSuffix
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Truncate(int64(len(content)))
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next)
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

// setAside allocates room for a file that is written later: twice what is needed
// now, and never little. An update that runs out of room must still be recorded, and
// what makes room again as well. It is an offer: where the room is not there, or the
// filesystem cannot allocate ahead, the file is written the ordinary way.
func setAside(path string, size int64) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	const least = 32 << 10
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, max(2*size, least))
}

// syncVolume commits everything on the filesystem that holds path.
func syncVolume(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Lock is the right to change the machine. It is given back by Unlock, and by
// the kernel when the process ends in whatever way.
type Lock struct{ file *os.File }

// Lock takes the right to change the machine, or returns ErrLocked at once when
// another process has it.
func (s *Store) Lock() (*Lock, error) {
	f, err := os.OpenFile(filepath.Join(s.directory, lockFile), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot take the update lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("cannot take the update lock: %w", err)
	}
	return &Lock{file: f}, nil
}

// Unlock gives the lock back.
func (l *Lock) Unlock() error { return l.file.Close() }

// Event is one line of the history: something that was tried, with its result.
type Event struct {
	Time       time.Time     `json:"time"`
	Kind       OperationKind `json:"kind"`
	Generation ID            `json:"generation"`
	Version    string        `json:"version"`
	// Result is "done", "undone" (the machine is as before) or "failed".
	Result string `json:"result"`
	// Reason says why, for people; "" when there is nothing to explain.
	Reason string `json:"reason,omitempty"`
	// Evidence is the directory with what was kept of a failed generation, relative
	// to the volume's state directory; "" when there is none. It may have been
	// removed since.
	Evidence string `json:"evidence,omitempty"`
}

// Results of an Event.
const (
	ResultDone   = "done"
	ResultUndone = "undone"
	ResultFailed = "failed"
)

// AppendEvent adds a line to the history, durably.
func (s *Store) AppendEvent(e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("cannot write the history: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.directory, historyFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write the history: %w", err)
	}
	defer f.Close()
	// A line that a loss of power cut short is ended first, so that it does not
	// swallow this one.
	if torn, err := endsInMidLine(f); err != nil {
		return fmt.Errorf("cannot write the history: %w", err)
	} else if torn {
		line = append([]byte{'\n'}, line...)
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("cannot write the history: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("cannot write the history: %w", err)
	}
	return nil
}

func endsInMidLine(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false, err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, info.Size()-1); err != nil {
		return false, err
	}
	return last[0] != '\n', nil
}

// History reads all events, oldest first. Lines that cannot be read (cut short by
// a loss of power) are left out.
func (s *Store) History(ctx context.Context) ([]Event, error) {
	content, err := os.ReadFile(filepath.Join(s.directory, historyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the history: %w", err)
	}
	var events []Event
	for line := range bytes.Lines(content) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var e Event
		if json.Unmarshal(line, &e) == nil {
			events = append(events, e)
		}
	}
	return events, nil
}
