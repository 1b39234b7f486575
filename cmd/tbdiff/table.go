package main

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/delta"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/core/tree"
)

// actions is the order in which totals are shown.
var actions = [...]delta.Action{
	delta.ActionCreate, delta.ActionReplace, delta.ActionModify,
	delta.ActionMetadata, delta.ActionAttributes, delta.ActionDelete,
}

// table prints for people: a line for each change, and the totals below.
type table struct {
	w      *bufio.Writer
	headed bool
}

// rowFormat has the widths of the longest action, type and number.
const rowFormat = "%-10s  %-16s  %10s  %s"

func (t *table) change(c delta.Change) error {
	if !t.headed {
		t.headed = true
		fmt.Fprintf(t.w, rowFormat+"\n", "ACTION", "TYPE", "DATA", "PATH")
	}
	fmt.Fprintf(t.w, rowFormat, c.Action, typeWord(c.Kind), dataWord(c), plainPath(c.Path))
	if words := details(c); words != "" {
		fmt.Fprintf(t.w, "  (%s)", words)
	}
	return t.w.WriteByte('\n')
}

func (t *table) finish(totals delta.Totals) error {
	var sums []string
	for _, action := range actions {
		if n := totals.Changes[action]; n > 0 {
			sums = append(sums, fmt.Sprintf("%s %d", action, n))
		}
	}
	if len(sums) == 0 {
		sums = []string{"nothing to change"}
	}
	_, err := fmt.Fprintf(t.w, "Total: %s; %d bytes of data in a stream of %d bytes and %d commands\n",
		strings.Join(sums, ", "), totals.Data, totals.Bytes, totals.Commands)
	return err
}

func (t *table) flush() error { return t.w.Flush() }

func typeWord(k tree.Kind) string {
	if k == 0 {
		return "-"
	}
	return k.String()
}

// dataWord gives the bytes of content, for changes that bring any.
func dataWord(c delta.Change) string {
	if c.Kind != tree.KindFile || c.Action == delta.ActionMetadata {
		return "-"
	}
	return strconv.FormatUint(c.Data, 10)
}

// details tells what the other columns do not.
func details(c delta.Change) string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	switch c.Action {
	case delta.ActionCreate, delta.ActionReplace:
		if c.Kind == tree.KindSymlink {
			add("-> %s", plainPath(c.Target))
		} else {
			add("mode %04o", c.Mode&0o7777)
		}
		add("owner %d:%d", c.UID, c.GID)
		if c.Kind == tree.KindBlock || c.Kind == tree.KindCharacter {
			add("device %d,%d", unix.Major(uint64(c.Rdev)), unix.Minor(uint64(c.Rdev)))
		}
	case delta.ActionModify:
		add("replaces bytes %d to %d", c.Start, c.End)
		fallthrough
	case delta.ActionMetadata:
		words = append(words, changedMetadata(c)...)
	}
	if c.SetsAttributes {
		add("attributes %s", attributeNames(c.Attributes))
	}
	return strings.Join(words, ", ")
}

func changedMetadata(c delta.Change) []string {
	var words []string
	add := func(bit tbdiff.Mask, format string, args ...any) {
		if c.Mask&bit != 0 {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(tbdiff.MaskMtime, "mtime %d", c.Mtime)
	add(tbdiff.MaskMode, "mode %04o", c.Mode&0o7777)
	add(tbdiff.MaskUID, "uid %d", c.UID)
	add(tbdiff.MaskGID, "gid %d", c.GID)
	return words
}

func attributeNames(attributes []tbdiff.Xattr) string {
	if len(attributes) == 0 {
		return "none"
	}
	names := make([]string, len(attributes))
	for i, x := range attributes {
		names[i] = plainPath(x.Name)
	}
	return strings.Join(names, " ")
}

// plainPath quotes what would not stay one readable word of one line: a stream's
// names hold any byte, and may be meant for the terminal.
func plainPath(path string) string {
	if quoted := strconv.Quote(path); quoted != `"`+path+`"` || strings.Contains(path, " ") {
		return quoted
	}
	return path
}
