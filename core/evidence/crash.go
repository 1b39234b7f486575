package evidence

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
			if i > 0 && entry.Name() == joinedName && beside(path) {
				return nil // systemd-pstore joined what is here, as it is joined below
			}
			name, _ := filepath.Rel(directory, path)
			found = append(found, crash{path: path, name: name, moved: i > 0, mark: fmt.Sprintf("%s@%d", name, info.ModTime().UnixNano())})
			return nil
		})
	}
	return found
}

// joinedName is the file that systemd-pstore writes beside the records that it moved.
const joinedName = "dmesg.txt"

// beside reports whether a file's directory has others.
func beside(path string) bool {
	entries, err := os.ReadDir(filepath.Dir(path))
	return err == nil && len(entries) > 1
}

// KeepCrashes keeps what crashes left in directories, of which the first is the
// kernel's own, without the records that are among seen. Once its copy is durable,
// the kernel's record is removed: the room for the next is small.
func (s *Store) KeepCrashes(generation string, directories, seen []string) error {
	if s.limit == 0 {
		return nil
	}
	records := slices.DeleteFunc(findCrashes(directories), func(c crash) bool { return slices.Contains(seen, c.mark) })
	dumps, err := readDumps(records)
	if err != nil {
		return fmt.Errorf("cannot keep what a crash left: %w", err)
	}
	for _, d := range dumps {
		if err := s.Keep(generation, crashPrefix+d.parts[0].name, d.content); err != nil {
			return fmt.Errorf("cannot keep what a crash left: %w", err)
		}
		// The first part, by which the copy is named, goes first: when power goes in
		// between, what is left is kept again, under another name. So is what cannot be
		// removed, under the same.
		for _, part := range d.parts {
			if !part.moved {
				_ = os.Remove(part.path)
			}
		}
	}
	return nil
}

// dump is what one crash left: a log, in as many parts as it takes where a record has
// little room. Firmware has 1 KiB for one.
type dump struct {
	parts   []crash // the first has the end of the log
	content []byte  // in the order of time
	title   string  // what all parts have: "Panic#1"
	number  int     // of the last part
}

// partLine is the first line of a part (pstore_dump in fs/pstore/platform.c of the kernel).
var partLine = regexp.MustCompile(`^(\w+#\d+) Part(\d+)\n`)

// readDumps reads records, and joins those that are parts of one dump.
func readDumps(records []crash) ([]dump, error) {
	// The names of a dump's records count up, with the parts.
	slices.SortStableFunc(records, func(a, b crash) int { return cmp.Compare(filepath.Base(a.name), filepath.Base(b.name)) })
	var dumps []dump
	for _, record := range records {
		content, err := read(record.path)
		if err != nil {
			return nil, err
		}
		title, number := "", 0
		if match := partLine.FindSubmatch(content); match != nil {
			title = string(match[1])
			number, _ = strconv.Atoi(string(match[2]))
		}
		if last := len(dumps) - 1; last >= 0 && title != "" && dumps[last].title == title && dumps[last].number+1 == number {
			dumps[last].parts = append(dumps[last].parts, record)
			dumps[last].content = append(content, dumps[last].content...)
			dumps[last].number = number
			continue
		}
		dumps = append(dumps, dump{parts: []crash{record}, content: content, title: title, number: number})
	}
	return dumps, nil
}

// read reads a file whose size may not be known.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 64<<20))
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
