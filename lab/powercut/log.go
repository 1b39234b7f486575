// Package powercut records every write and flush that reaches a disk, and makes of them the disks
// that a loss of power could have left.
package powercut

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Log is what reached a disk, in order. Its file has the format of the kernel's dm-log-writes
// (Linux: Documentation/admin-guide/device-mapper/log-writes.rst), which QEMU's blklogwrites writes.
type Log struct {
	Entries []Entry
	file    *os.File
	whole   []span // see Whole
}

// Entry is one request.
type Entry struct {
	Kind   Kind
	Offset int64 // in bytes, on the disk
	Length int64 // in bytes; 0 for a flush
	// Durable is true for a write that was on the disk when it ended (FUA).
	Durable bool
	data    int64 // where a write's bytes are in the file
}

// Kind says what a request does.
type Kind int

// The kinds. What was written before a Flush is on the disk after it.
const (
	Write Kind = iota
	Discard
	Flush
)

const (
	logMagic   = 0x6a736677736872
	logVersion = 1
	headerSize = 32 // of the superblock's fields, and of an entry's

	flagFlush   = 1
	flagFUA     = 2
	flagDiscard = 4
)

// OpenLog reads what the log file has. Close releases it.
func OpenLog(path string) (*Log, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	l := &Log{file: file}
	if err := l.read(); err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot read the log %q: %w", path, err)
	}
	return l, nil
}

// Close releases the file.
func (l *Log) Close() error { return l.file.Close() }

func (l *Log) read() error {
	var header [headerSize]byte
	if _, err := l.file.ReadAt(header[:], 0); err != nil {
		return err
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(header[8*i:]) }
	sector := int64(binary.LittleEndian.Uint32(header[24:]))
	if word(0) != logMagic || word(1) != logVersion || sector < headerSize {
		return errors.New("it is no log of writes of version 1")
	}
	at := sector
	for n := word(2); n > 0; n-- {
		if _, err := l.file.ReadAt(header[:], at); err != nil {
			return fmt.Errorf("entry at byte %d: %w", at, err)
		}
		at += sector
		flags, length := word(2), int64(word(1))*sector
		e := Entry{Kind: Write, Offset: int64(word(0)) * sector, Length: length, Durable: flags&flagFUA != 0, data: at}
		switch {
		case flags&flagDiscard != 0:
			e.Kind = Discard
		case length == 0:
			e.Kind = Flush
		default:
			at += length
		}
		if e.Kind == Write && flags&flagFlush != 0 { // before the write (REQ_PREFLUSH)
			l.Entries = append(l.Entries, Entry{Kind: Flush})
		}
		l.Entries = append(l.Entries, e)
	}
	return nil
}

// bytes gives what a write wrote.
func (l *Log) bytes(e Entry) ([]byte, error) {
	b := make([]byte, e.Length)
	if _, err := l.file.ReadAt(b, e.data); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("cannot read what was written at byte %d: %w", e.Offset, err)
	}
	return b, nil
}
