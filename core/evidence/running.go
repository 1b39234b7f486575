package evidence

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/command"
)

// gatherLimit is how long a program that tells what it logged may take.
const gatherLimit = 20 * time.Second

// journalLines bounds what is asked of the journal; Keep bounds its size.
const journalLines = "20000"

// KernelLog reads the kernel's log of this boot from its device, "/dev/kmsg", in the
// form of dmesg(1).
func KernelLog(device string) ([]byte, error) {
	// Not as an *os.File, which would make it wait at the end for more.
	log, err := unix.Open(device, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read the kernel's log: %w", err)
	}
	defer unix.Close(log)
	var text bytes.Buffer
	// A record is at most 8 KiB long (Documentation/ABI/testing/dev-kmsg), and each
	// read gives one.
	record := make([]byte, 8192)
	for {
		n, err := unix.Read(log, record)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			continue // records were overwritten meanwhile: the next one is the oldest left
		case errors.Is(err, unix.EAGAIN), n == 0:
			return text.Bytes(), nil
		case err != nil:
			return text.Bytes(), fmt.Errorf("cannot read the kernel's log: %w", err)
		}
		text.WriteString(kernelRecord(string(record[:n])))
	}
}

// kernelRecord turns "PRIORITY,SEQUENCE,MICROSECONDS,…;TEXT" into a line with the
// time. What follows the first line are details for programs.
func kernelRecord(record string) string {
	head, text, found := strings.Cut(record, ";")
	if !found {
		return ""
	}
	text, _, _ = strings.Cut(text, "\n")
	fields := strings.Split(head, ",")
	if len(fields) < 3 {
		return text + "\n"
	}
	micros, err := strconv.ParseUint(fields[2], 10, 64)
	if err != nil {
		return text + "\n"
	}
	return fmt.Sprintf("[%5d.%06d] %s\n", micros/1_000_000, micros%1_000_000, text)
}

// Journal reads the journal of a boot (journalctl(1)): bootID "" is the running one.
// directory is where the journal's files are, "" for this machine's. A machine without
// a journal gives nothing.
func Journal(ctx context.Context, directory, bootID string) ([]byte, error) {
	boot := cmp.Or(strings.ReplaceAll(bootID, "-", ""), "0")
	arguments := []string{"--no-pager", "--quiet", "--output=short-precise", "--lines=" + journalLines, "--boot=" + boot}
	if directory != "" {
		if _, err := os.Stat(directory); err != nil {
			return nil, nil
		}
		arguments = append(arguments, "--directory="+directory)
	}
	limited, cancel := context.WithTimeout(ctx, gatherLimit)
	defer cancel()
	output, err := command.Output(limited, "journalctl", arguments...)
	if err != nil {
		return nil, err
	}
	return output, nil
}

// logs are files that systems without a journal log to, in a system's tree.
var logs = []string{"var/log/syslog", "var/log/messages", "var/log/kern.log", "var/log/daemon.log"}

// Logs gives the ends of the log files in the tree of a system that does not run, by
// name. No link leads out of the tree.
func Logs(tree string, limit int64) (map[string][]byte, error) {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, fmt.Errorf("cannot read the logs of %s: %w", tree, err)
	}
	defer root.Close()
	found := map[string][]byte{}
	for _, name := range logs {
		f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			_, _ = f.Seek(max(0, info.Size()-limit), io.SeekStart)
			if content, err := io.ReadAll(io.LimitReader(f, limit)); err == nil && len(content) > 0 {
				found[name] = content
			}
		}
		f.Close()
	}
	return found, nil
}
