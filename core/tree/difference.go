package tree

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// What says in which respect two entries of one path differ.
type What string

// The respects in which entries are compared.
const (
	WhatEntry     What = "entry" // only one of the trees has it
	WhatKind      What = "type"
	WhatMode      What = "mode"
	WhatUID       What = "uid"
	WhatGID       What = "gid"
	WhatModified  What = "mtime"
	WhatContent   What = "content"
	WhatTarget    What = "link target"
	WhatDevice    What = "device"
	WhatAttribute What = "attribute"
	WhatHardLink  What = "hard link" // Exact only
)

// Difference is one respect in which the trees a and b differ.
type Difference struct {
	Path string // relative to the tops; "." for the tops themselves
	What What
	// Name is the attribute's, for WhatAttribute, and "" otherwise.
	Name string
	// A and B are the values, for people; "-" is none. A mode is octal with the
	// type's bits, a time in seconds since 1970, an attribute quoted or in
	// hexadecimal.
	A, B string
}

// String gives the difference as a line for people.
func (d Difference) String() string {
	what := string(d.What)
	if d.Name != "" {
		what += " " + d.Name
	}
	return fmt.Sprintf("%s: %s: %s != %s", quotePath(d.Path), what, d.A, d.B)
}

const none = "-"

// compareEntries gives the differences in metadata of two entries. Those of
// different kinds differ in their kind and nothing else.
func compareEntries(a, b *Entry, exact bool) []Difference {
	if a.Kind() != b.Kind() {
		return []Difference{{Path: a.Path, What: WhatKind, A: a.Kind().String(), B: b.Kind().String()}}
	}
	var found []Difference
	add := func(what What, x, y string) {
		if x != y {
			found = append(found, Difference{Path: a.Path, What: what, A: x, B: y})
		}
	}
	if a.Kind() != KindSymlink {
		add(WhatMode, formatMode(a.Mode), formatMode(b.Mode))
	}
	add(WhatUID, formatID(a.UID), formatID(b.UID))
	add(WhatGID, formatID(a.GID), formatID(b.GID))
	add(WhatModified, formatTime(a.Modified, exact), formatTime(b.Modified, exact))
	add(WhatTarget, strconv.Quote(a.Target), strconv.Quote(b.Target))
	add(WhatDevice, formatDevice(a.Rdev), formatDevice(b.Rdev))
	return append(found, compareXattrs(a, b)...)
}

// compareXattrs merges two sorted lists of attributes.
func compareXattrs(a, b *Entry) []Difference {
	var found []Difference
	add := func(name, x, y string) {
		found = append(found, Difference{Path: a.Path, What: WhatAttribute, Name: name, A: x, B: y})
	}
	for _, x := range a.Xattrs {
		if y, ok := b.Xattr(x.Name); !ok {
			add(x.Name, formatValue(x.Value), none)
		} else if !bytes.Equal(x.Value, y) {
			add(x.Name, formatValue(x.Value), formatValue(y))
		}
	}
	for _, y := range b.Xattrs {
		if _, ok := a.Xattr(y.Name); !ok {
			add(y.Name, none, formatValue(y.Value))
		}
	}
	return found
}

// sortDifferences orders by path, a directory before its content, and leaves the
// order of those of one path.
func sortDifferences(found []Difference) {
	slices.SortStableFunc(found, func(x, y Difference) int { return ComparePaths(x.Path, y.Path) })
}

func formatMode(mode uint32) string { return fmt.Sprintf("%06o", mode) }

func formatID(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

func formatTime(t Time, exact bool) string {
	if !exact {
		return strconv.FormatInt(t.Seconds, 10)
	}
	return fmt.Sprintf("%d+%09dns", t.Seconds, t.Nanoseconds)
}

func formatDevice(rdev uint64) string {
	return fmt.Sprintf("%d,%d", unix.Major(rdev), unix.Minor(rdev))
}

// formatValue shows an attribute's value so that it can be told from any other.
func formatValue(value []byte) string {
	if utf8.Valid(value) && !bytes.ContainsFunc(value, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(string(value))
	}
	return "0x" + hex.EncodeToString(value)
}

// quotePath leaves a path as it is unless it would not be readable or certain on a
// line of its own.
func quotePath(path string) string {
	if quoted := strconv.Quote(path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}
