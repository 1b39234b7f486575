package main

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/trebuchet-update/tbupdate/core/delta"
	"github.com/trebuchet-update/tbupdate/core/tbdiff"
	"github.com/trebuchet-update/tbupdate/core/tree"
)

// object prints one JSON object for programs: format, changes, and then the fields of
// machineTotals. Its names are stable.
type object struct {
	w     *bufio.Writer
	begun bool
}

// machineTotals is the last part of the object.
type machineTotals struct {
	Bytes    int64                `json:"bytes"`
	Commands int                  `json:"commands"`
	Data     uint64               `json:"data"`
	Totals   map[delta.Action]int `json:"totals"`
}

func (o *object) change(c delta.Change) error {
	o.begin(",\n")
	line, err := json.Marshal(forMachine(c))
	if err != nil {
		return err
	}
	_, err = o.w.Write(line)
	return err
}

// begin writes what stands before the changes, or else what stands between two.
func (o *object) begin(between string) {
	if o.begun {
		o.w.WriteString(between)
		return
	}
	o.begun = true
	o.w.WriteString(`{"format":"v0","changes":[` + "\n")
}

func (o *object) finish(t delta.Totals) error {
	o.begin("")
	line, err := json.Marshal(machineTotals{Bytes: t.Bytes, Commands: t.Commands, Data: t.Data, Totals: t.Changes})
	if err != nil {
		return err
	}
	// The object of the totals goes on where the changes end.
	_, err = fmt.Fprintf(o.w, "\n],%s\n", line[1:])
	return err
}

func (o *object) flush() error { return o.w.Flush() }

// machineChange is one change. A string with bytes that are not UTF-8 has the form
// that comes nearest, and its bytes beside it.
type machineChange struct {
	Path       string            `json:"path"`
	PathBase64 string            `json:"path_base64,omitempty"`
	Action     delta.Action      `json:"action"`
	Type       string            `json:"type,omitempty"`
	Data       *uint64           `json:"data,omitempty"`  // bytes of content in the stream
	Start      *uint32           `json:"start,omitempty"` // of the old content that is replaced
	End        *uint32           `json:"end,omitempty"`
	Changed    []string          `json:"changed,omitempty"` // metadata that differ from the origin's
	Mode       string            `json:"mode,omitempty"`    // octal, with type bits
	UID        *uint32           `json:"uid,omitempty"`
	GID        *uint32           `json:"gid,omitempty"`
	Mtime      *int64            `json:"mtime,omitempty"`
	Target     string            `json:"target,omitempty"`
	TargetB64  string            `json:"target_base64,omitempty"`
	Rdev       []uint32          `json:"rdev,omitempty"`   // major, minor
	Xattrs     map[string]string `json:"xattrs,omitempty"` // all that it has then, values in hexadecimal
	SetsXattrs bool              `json:"sets_xattrs,omitempty"`
}

func forMachine(c delta.Change) machineChange {
	m := machineChange{Path: c.Path, PathBase64: bytesBeside(c.Path), Action: c.Action, SetsXattrs: c.SetsAttributes}
	if c.Kind != 0 {
		m.Type = c.Kind.String()
		m.UID, m.GID, m.Mtime = &c.UID, &c.GID, &c.Mtime
		m.Target, m.TargetB64 = c.Target, bytesBeside(c.Target)
	}
	if c.Mode != 0 {
		m.Mode = fmt.Sprintf("%o", c.Mode)
	}
	if c.Kind == tree.KindFile && c.Action != delta.ActionMetadata {
		m.Data = &c.Data
	}
	if c.Action == delta.ActionModify {
		m.Start, m.End = &c.Start, &c.End
	}
	if c.Kind == tree.KindBlock || c.Kind == tree.KindCharacter {
		m.Rdev = []uint32{unix.Major(uint64(c.Rdev)), unix.Minor(uint64(c.Rdev))}
	}
	m.Changed = maskNames(c.Mask)
	if len(c.Attributes) > 0 {
		m.Xattrs = map[string]string{}
	}
	for _, x := range c.Attributes {
		m.Xattrs[x.Name] = hex.EncodeToString(x.Value)
	}
	return m
}

func maskNames(mask tbdiff.Mask) []string {
	var names []string
	for _, bit := range []struct {
		mask tbdiff.Mask
		name string
	}{{tbdiff.MaskMtime, "mtime"}, {tbdiff.MaskMode, "mode"}, {tbdiff.MaskUID, "uid"}, {tbdiff.MaskGID, "gid"}} {
		if mask&bit.mask != 0 {
			names = append(names, bit.name)
		}
	}
	return names
}

// bytesBeside gives the bytes of a string that JSON cannot hold.
func bytesBeside(s string) string {
	if utf8.ValidString(s) {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(s))
}
