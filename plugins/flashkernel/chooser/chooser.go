// Package chooser is what U-Boot runs to choose among generations, and the codecs of
// the files that it goes by: bytes in, values out, no I/O.
//
// The chooser is a piece of script that never changes from generation to generation.
// It stands at the beginning of /boot.scr, where U-Boot starts. It reads the default
// (Default), reads, counts and writes the trial (Trial), and runs the script of the
// entry that it chose, /tbupdate/ID/boot.scr. The same text within the script of an
// entry, where flash-kernel puts it from ubootenv.d, finds that an entry is chosen, and
// only hands it the entry's words (Words).
//
// When an entry comes back, because something of it cannot be loaded, the default
// is next, then the default before, and then the machine starts again.
//
// Default and Trial are each kept in two copies of one sector, of which the first
// that is whole counts. A writer brings the second copy up to the first before it
// writes the first, and after it: whatever is torn, the other is the last state.
package chooser

import (
	_ "embed" // for the snippet
	"strings"
)

// The lines around the chooser. Another version has another number.
const (
	beginMark = "# BEGIN tbupdate chooser "
	endMark   = "# END tbupdate chooser "
)

//go:embed snippet.txt
var snippet string

// Snippet gives the chooser's text. As a file of flash-kernel's directory ubootenv.d
// it becomes part of each script that flash-kernel makes.
func Snippet() string { return snippet }

// SnippetName is the name of that file. It is the last by its name, so that what
// others set there for the board is set when an entry is chosen.
const SnippetName = "zz-tbupdate"

// Contract counts the ways in which the chooser in /boot.scr and the one in an entry's
// script rely on each other: the variables tbupdate_entry, tbupdate_boot,
// tbupdate_directory and tbupdate_words. An entry outlives the program that installed it, so a chooser of another version has to
// run the entries of this one as long as the number is the same.
const Contract = 1

// Chooses reports whether a script chooses by the files of this package: with the
// chooser as it is here, or another one with its number, that another version of this
// program wrote. After an update that brings a new version, U-Boot still has the text
// of the old one.
func Chooses(script string) bool {
	begin, _, _ := strings.Cut(snippet, ":")
	_, end, _ := strings.Cut(snippet, endMark)
	_, rest, found := strings.Cut(script, begin+":")
	return found && strings.Contains(rest, endMark+end)
}

// IsIn reports whether a script has this version of the chooser, and nothing of
// another one.
func IsIn(script string) bool {
	return strings.Count(script, beginMark) == 1 && strings.Contains(script, snippet)
}

// Put gives a script the chooser, before everything else, instead of one that it
// has. What the script does remains for when nothing of ours was made the default.
func Put(script string) string {
	if IsIn(script) {
		return script
	}
	return snippet + Without(script)
}

// Without takes a chooser of any version out of a script.
func Without(script string) string {
	var rest strings.Builder
	inside := false
	for line := range strings.Lines(script) {
		switch {
		case strings.HasPrefix(line, beginMark):
			inside = true
		case strings.HasPrefix(line, endMark):
			inside = false
		case !inside:
			rest.WriteString(line)
		}
	}
	return rest.String()
}
