package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

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

// print writes the account as a table for people, with the totals below it.
func (a *account) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(a.changes) > 0 {
		fmt.Fprintln(t, "ACTION\tTYPE\tDATA\tPATH\tDETAILS")
	}
	for _, c := range a.changes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s", c.Action, typeWord(c.Kind), dataWord(c), plainPath(c.Path))
		if words := details(c); words != "" {
			fmt.Fprintf(t, "\t%s", words)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var sums []string
	for _, action := range actions {
		if n := a.totals.Changes[action]; n > 0 {
			sums = append(sums, fmt.Sprintf("%s %d", action, n))
		}
	}
	if len(sums) == 0 {
		sums = []string{"nothing to change"}
	}
	_, err := fmt.Fprintf(w, "Total: %s; %d bytes of data in a stream of %d bytes and %d commands\n",
		strings.Join(sums, ", "), a.totals.Data, a.totals.Bytes, a.totals.Commands)
	return err
}

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
