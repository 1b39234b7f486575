package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/generation"
	"github.com/trebuchet-update/tbupdate/core/update"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// journalFault makes one writing of the journal fail. The journal is written by opening
// journal.json.next, which is renamed then, and by opening the directory, which is
// flushed then; the kernel asks the fault before it opens one of them (fanotify(7)), and
// gets a no.
type journalFault struct {
	n       int  // which writing, from 1; 0 for none
	renamed bool // whether the new one has come as far as the name
	history bool // whether the history fails, each time

	group *os.File // asks for permission

	mu        sync.Mutex
	directory uint64   // inode of the state directory
	places    []string // what was done last when each writing so far began
	last      string
	stage     writingStage
	struck    bool
}

// writingStage says which file the next step of writing the journal opens.
type writingStage int

const (
	writes    writingStage = iota // the new one
	flushes                       // the directory
	setsAside                     // the one after that
)

// withJournalFault runs a command with the fault.
func (m *testMachine) withJournalFault(f *journalFault, command ...string) ran {
	m.t.Helper()
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		m.t.Fatalf("cannot ask for permission of opening files: %v", err)
	}
	f.group, f.last = os.NewFile(uintptr(fd), "fanotify"), "begin"
	answered := make(chan error, 1)
	go func() { answered <- f.answer() }()
	r := m.runHere(m.t.Context(), func(p *program) {
		p.wrap = func(fs sdk.FS, boot sdk.Boot) (sdk.FS, sdk.Boot) { return faultyJournalFS{fs, f}, boot }
		p.observe = f.see
	}, command...)
	_ = f.group.Close()
	if err := <-answered; !errors.Is(err, os.ErrClosed) {
		m.t.Fatal(err)
	}
	if f.n > 0 && !f.struck {
		m.t.Fatalf("of %d writings of the journal, the %d. did not fail", len(f.places), f.n)
	}
	return r
}

// see notes what was done.
func (f *journalFault) see(kind generation.OperationKind, step update.Step, phase update.Phase) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = place(kind, step, phase)
}

// faultyJournalFS is an sdk.FS that a fault learns the state directory from.
type faultyJournalFS struct {
	sdk.FS
	fault *journalFault
}

func (f faultyJournalFS) StateDirectory(ctx context.Context) (string, error) {
	directory, err := f.FS.StateDirectory(ctx)
	if err == nil {
		err = f.fault.watch(directory)
	}
	return directory, err
}

// watch begins to ask for what is opened in the directory, and for itself.
func (f *journalFault) watch(directory string) error {
	var st unix.Stat_t
	if err := unix.Stat(directory, &st); err != nil {
		return err
	}
	f.mu.Lock()
	f.directory = st.Ino
	f.mu.Unlock()
	return unix.FanotifyMark(int(f.group.Fd()), unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM|unix.FAN_ONDIR|unix.FAN_EVENT_ON_CHILD, unix.AT_FDCWD, directory)
}

// answer answers until the group is closed.
func (f *journalFault) answer() error {
	buffer := make([]byte, 4096)
	for {
		n, err := f.group.Read(buffer)
		if err != nil {
			return err
		}
		for events := bytes.NewReader(buffer[:n]); events.Len() > 0; {
			var event unix.FanotifyEventMetadata
			if err := binary.Read(events, binary.NativeEndian, &event); err != nil {
				return err
			}
			response := unix.FanotifyResponse{Fd: event.Fd, Response: unix.FAN_ALLOW}
			refuse, err := f.refuses(int(event.Fd))
			if refuse {
				response.Response = unix.FAN_DENY
			}
			err = errors.Join(err, binary.Write(f.group, binary.NativeEndian, response), unix.Close(int(event.Fd)))
			if err != nil {
				return err
			}
		}
	}
}

// refuses follows the writing of the journal by what is opened, and says whether to
// refuse it.
func (f *journalFault) refuses(opened int) (bool, error) {
	var st unix.Stat_t
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", opened))
	if err := errors.Join(err, unix.Fstat(opened, &st)); err != nil {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.history && filepath.Base(name) == "history.jsonl" {
		f.struck = true
		return true, nil
	}
	next := filepath.Base(name) == "journal.json.next"
	here := false
	switch {
	case f.stage == writes && next:
		f.places = append(f.places, f.last)
		f.stage = flushes
		here = !f.renamed
	case f.stage == flushes && st.Ino == f.directory:
		f.stage = setsAside
		here = f.renamed
	case f.stage == setsAside && next:
		f.stage = writes
	}
	if !here || len(f.places) != f.n {
		return false, nil
	}
	f.stage, f.struck = writes, true
	return true, nil
}

// everyWritingFails lets each writing of the journal fail: before the journal is another,
// and when it is another already, but may not be on the disk. And the history, which is
// told of and stops nothing.
func (c crashCase) everyWritingFails(t *testing.T, base *testMachine) {
	none := &journalFault{}
	base.clone(t).withJournalFault(none, c.command...)
	steps := 0
	for _, step := range c.steps {
		if !strings.HasPrefix(step, "judge/") {
			steps++ // what is judged is noted once, or not in the journal
		}
	}
	if len(none.places) < 2*steps {
		t.Fatalf("the journal was written %d times in %d steps", len(none.places), steps)
	}
	t.Run("history", func(t *testing.T) {
		m := base.clone(t)
		layout := m.layout()
		f := &journalFault{history: true}
		r := m.withJournalFault(f, c.command...)
		if f.struck == c.noted {
			t.Errorf("the history was written: %v", f.struck)
		}
		if r.code != c.exit || f.struck && !strings.Contains(r.stderr, "cannot write the history") {
			t.Errorf("exit code %d, want %d and that the history cannot be written", r.code, c.exit)
		}
		c.judge(t, m, layout, r)
	})
	for i, after := range none.places {
		for mode, renamed := range map[string]bool{"before": false, "after": true} {
			if !thorough && !(renamed && (i == 0 || i == len(none.places)-1)) {
				continue
			}
			t.Run(fmt.Sprintf("%02d %s/%s", i+1, after, mode), func(t *testing.T) {
				m := base.clone(t)
				layout := m.layout()
				c.judge(t, m, layout, m.withJournalFault(&journalFault{n: i + 1, renamed: renamed}, c.command...))
			})
		}
	}
}
