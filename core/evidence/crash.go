package evidence

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// CrashDirectories are where a machine keeps what the kernel said when it crashed:
// the kernel's own place (Documentation/admin-guide/pstore-blk.rst), and the one
// that systemd-pstore(8) moves it to.
var CrashDirectories = []string{"/sys/fs/pstore", "/var/lib/systemd/pstore"}

// crashPrefix marks the files of crashes among the evidence.
const crashPrefix = "crash-"

// Crashes lists what crashes left in directories, as marks that tell one record from a
// later one of the same name.
func Crashes(directories []string) []string {
	var marks []string
	for _, record := range findCrashes(directories) {
		marks = append(marks, record.mark)
	}
	return marks
}

// crash is one file that a crash left.
type crash struct {
	path, name, mark string
	// moved is true for one that is a copy already, which is not ours to remove.
	moved bool
}

func findCrashes(directories []string) []crash {
	var found []crash
	for i, directory := range directories {
		_ = filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return nil
			}
			info, err := entry.Info()
			if err != nil {
				return nil
			}
			name, _ := filepath.Rel(directory, path)
			found = append(found, crash{path: path, name: name, moved: i > 0, mark: fmt.Sprintf("%s@%d", name, info.ModTime().UnixNano())})
			return nil
		})
	}
	return found
}

// KeepCrashes keeps what crashes left in directories, of which the first is the
// kernel's own, without the records that are among seen. Once its copy is durable,
// the kernel's record is removed: the room for the next is small.
func (s *Store) KeepCrashes(generation string, directories, seen []string) error {
	for _, record := range findCrashes(directories) {
		if s.limit == 0 || slices.Contains(seen, record.mark) {
			continue
		}
		content, err := readEnd(record.path, s.limit)
		if err == nil {
			err = s.Keep(generation, crashPrefix+record.name, content)
		}
		if err != nil {
			return fmt.Errorf("cannot keep what a crash left: %w", err)
		}
		if !record.moved {
			// It stays where it cannot be removed: the next time it is kept again.
			_ = os.Remove(record.path)
		}
	}
	return nil
}

// readEnd reads the end of a file whose size may not be known.
func readEnd(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, 64<<20))
	if err != nil {
		return nil, err
	}
	return content[max(0, int64(len(content))-limit):], nil
}

// CrashLine gives the line that says why the kernel crashed, from the evidence of a
// generation; "" when there is none.
func (s *Store) CrashLine(generation string) string {
	files, err := s.List(generation)
	if err != nil {
		return ""
	}
	var all []byte
	for _, file := range files {
		if !strings.HasPrefix(file.Name, crashPrefix) {
			continue
		}
		if content, err := s.Read(generation, file.Name); err == nil {
			all = append(append(all, content...), '\n')
		}
	}
	return CrashLine(all)
}

// crashLines are beginnings of what the kernel says when it crashes, the most telling
// first.
var crashLines = []string{"Kernel panic - not syncing", "Unable to handle kernel", "BUG: ", "Oops", "Internal error"}

// logPrefix is what stands before a message in a log: its level and time.
var logPrefix = regexp.MustCompile(`^(<\d+>)?\s*(\[[^]]*\]\s*)*`)

// CrashLine finds the line in a kernel's log that says why it crashed; "" when none
// does.
func CrashLine(log []byte) string {
	lines := strings.Split(strings.ToValidUTF8(string(log), "?"), "\n")
	for _, beginning := range crashLines {
		for _, line := range lines {
			message := strings.TrimSpace(logPrefix.ReplaceAllString(line, ""))
			if strings.HasPrefix(message, beginning) {
				return message[:min(len(message), 200)]
			}
		}
	}
	return ""
}
