// Package bls writes boot menu entries for systemd-boot such that what changes is one
// sector, and reads entries as systemd-boot does: text in, values out, no I/O.
//
// The format is the Boot Loader Specification's type 1, the order of entries and the
// choice that of systemd-boot 252 (src/boot/efi/boot.c; man systemd-boot).
package bls

import (
	"errors"
	"fmt"
	"strings"
)

// SectorSize is the unit that a disk writes whole. The first sector of an entry file
// of ours holds all that ever changes in it.
const SectorSize = 512

// ErrValue says that systemd-boot could not be told a value.
var ErrValue = errors.New("systemd-boot cannot be told this value")

// Entry is what an entry file of ours says. Paths are those on the EFI system
// partition, without a leading slash.
type Entry struct {
	Title       string
	Version     string
	Kernel      string
	Initrd      string // "" for none
	DeviceTree  string // "" for none
	CommandLine string
}

// Rank is where an entry stands among ours: the lowest boots. Ranks of defaults lie
// from 1 to MaxRank; RankOff is that of an entry that systemd-boot does not see,
// RankTrial that of a trial that it counts, RankLast that of a trial that it boots only
// when it is asked for by name.
type Rank int

// Ranks.
const (
	RankOff   Rank = -1
	RankTrial Rank = 0
	MaxRank   Rank = 999998
	RankLast  Rank = MaxRank + 1
)

// keyPrefix begins our sort keys. Digits come before letters, so that also where
// loader.conf says nothing, our entries come before those of a distribution.
const keyPrefix = "0-tbupdate-"

// Head gives the first sector of an entry file. An entry without "linux" is no entry
// to systemd-boot, so writing it in place makes an entry appear or disappear, or
// moves it to another place.
//
// Errors: ErrValue.
func (e Entry) Head(rank Rank) ([]byte, error) {
	text := "# Written by tbupdate, which changes it in place: do not edit.\n"
	if rank != RankOff {
		text += fmt.Sprintf("sort-key %s%06d\nlinux /%s\n", keyPrefix, rank, e.Kernel)
	}
	if rank > RankLast || len(text) >= SectorSize || !plain(e.Kernel) {
		return nil, fmt.Errorf("%w: kernel %q at rank %d", ErrValue, e.Kernel, rank)
	}
	return []byte(text + strings.Repeat("#", SectorSize-len(text)-1) + "\n"), nil
}

// Format gives an entry file.
//
// Errors: ErrValue.
func (e Entry) Format(rank Rank) ([]byte, error) {
	head, err := e.Head(rank)
	if err != nil {
		return nil, err
	}
	body := ""
	for _, line := range []struct{ key, value string }{
		{"title", e.Title}, {"version", e.Version}, {"initrd", rooted(e.Initrd)}, {"devicetree", rooted(e.DeviceTree)}, {"options", e.CommandLine},
	} {
		if line.value == "" {
			continue
		}
		if !plain(line.value) {
			return nil, fmt.Errorf("%w: %s %q", ErrValue, line.key, line.value)
		}
		body += line.key + " " + line.value + "\n"
	}
	return append(head, body...), nil
}

func rooted(path string) string {
	if path == "" {
		return ""
	}
	return "/" + path
}

// plain reports whether systemd-boot reads a value as it stands: it takes spaces off
// both ends, quotes too, and ends a line at a control character.
func plain(value string) bool {
	quoted := len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"'
	return !quoted && strings.TrimSpace(value) == value && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// Rank gives the rank that an entry file of ours says, ok false when the file is not
// exactly what Format makes of e.
func (e Entry) Rank(data []byte) (rank Rank, ok bool) {
	rank = RankOf(Parse(string(data)))
	want, err := e.Format(rank)
	return rank, err == nil && string(want) == string(data)
}

// RankOf gives the rank of any entry that was read, RankOff when it is not one that
// ours can have.
func RankOf(read Read) Rank {
	digits, found := strings.CutPrefix(read.SortKey, keyPrefix)
	rank, ok := number(digits)
	if !found || !ok || len(digits) != len("000000") || read.Kernel == "" {
		return RankOff
	}
	return Rank(rank)
}
