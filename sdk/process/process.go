// Package process tells the processes of one boot apart, although the kernel uses
// their numbers again.
package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mark names one process of this boot, as "PID-STARTTIME": fields 1 and 22 of
// /proc/PID/stat (proc_pid_stat(5)).
type Mark string

// Own gives the mark of this process.
func Own() (Mark, error) { return Of(os.Getpid()) }

// Of gives the mark of a process; the error is fs.ErrNotExist for one that is gone.
func Of(pid int) (Mark, error) {
	s, err := read(strconv.Itoa(pid))
	return s.mark, err
}

// Exists reports whether the process is there, which it also is for a while after its end
// (as a zombie).
func (m Mark) Exists() bool {
	pid := m.PID()
	if pid <= 0 {
		return false
	}
	s, err := read(strconv.Itoa(pid))
	return err == nil && s.mark == m
}

// Works reports whether the process or any other of the session that it leads goes on: what it
// started may outlive it.
func (m Mark) Works() (bool, error) {
	if m.PID() <= 0 {
		return false, nil
	}
	pid := strconv.Itoa(m.PID())
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return false, err
	}
	works := false
	for _, file := range files {
		s, err := read(filepath.Base(filepath.Dir(file)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // it ended meanwhile
		case err != nil:
			return false, err
		case s.pid == pid && s.mark != m:
			return false, nil // the number is another's, so the session was over
		case s.session == pid && s.state != "Z" && s.state != "X":
			works = true
		}
	}
	return works, nil
}

// PID gives the process's id; 0 where the mark is none.
func (m Mark) PID() int {
	id, _, _ := strings.Cut(string(m), "-")
	pid, _ := strconv.Atoi(id)
	return pid
}

// stat is what /proc/PID/stat says of a process.
type stat struct {
	mark                Mark
	pid, state, session string
}

func read(pid string) (stat, error) {
	path := "/proc/" + pid + "/stat"
	data, err := os.ReadFile(path)
	if errors.Is(err, unix.ESRCH) { // it ended between open and read
		err = fs.ErrNotExist
	}
	if err != nil {
		return stat{}, err
	}
	// The program's name, in parentheses, may hold anything; fields are counted
	// from behind it, where field 3 is the first.
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const state, session, startTime = 0, 6 - 3, 22 - 3 // of fields 3, 6 and 22
	if len(fields) <= startTime {
		return stat{}, fmt.Errorf("cannot parse %s", path)
	}
	return stat{mark: Mark(pid + "-" + fields[startTime]), pid: pid, state: fields[state], session: fields[session]}, nil
}
