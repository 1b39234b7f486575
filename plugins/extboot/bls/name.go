package bls

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// suffix ends the name of every entry file.
const suffix = ".conf"

// Names of our entry files begin so.
const namePrefix = "tbupdate-"

// Pattern matches every entry of ours, for "default" in loader.conf.
const Pattern = namePrefix + "*"

// trialMark stands between id and counter of a trial. No id has a dot.
const trialMark = ".trial"

// Uncounted is the number of tries of an entry without a counter.
const Uncounted = -1

// FileName gives the name of the entry file of an id.
func FileName(id string) string { return namePrefix + id + suffix }

// TrialName gives the name of a trial's entry file before its first try. systemd-boot
// renames it at each: NAME+2.conf, NAME+1-1.conf, NAME+0-2.conf.
func TrialName(id string, tries int) string {
	return fmt.Sprintf("%s%s%s+%d%s", namePrefix, id, trialMark, tries, suffix)
}

// OneShotName gives the name of the entry file of a trial that systemd-boot does not
// count, since it is asked for it once.
func OneShotName(id string) string { return namePrefix + id + trialMark + suffix }

// Name is what the name of an entry file of ours says.
type Name struct {
	ID    string
	Trial bool
	Left  int // tries, Uncounted without a counter
	Done  int
}

// ParseName reads the name of an entry file of ours, ok false for those of others.
func ParseName(file string) (name Name, ok bool) {
	rest, ours := strings.CutPrefix(strings.ToLower(file), namePrefix)
	if !ours || !strings.HasSuffix(rest, suffix) {
		return Name{}, false
	}
	name.Left, name.Done = Tries(file)
	rest = strings.TrimSuffix(rest, suffix)
	if name.Left != Uncounted {
		rest = rest[:strings.LastIndex(rest, "+")]
	}
	name.ID, name.Trial = strings.CutSuffix(rest, trialMark)
	return name, name.ID != "" && !strings.Contains(name.ID, ".")
}

// Tries gives the counters of any entry file's name, Uncounted when it has none: what
// stands behind the last "+", if that is all up to the suffix.
func Tries(file string) (left, done int) {
	stem, ok := strings.CutSuffix(file, suffix)
	at := strings.LastIndex(stem, "+")
	if !ok || at < 0 {
		return Uncounted, 0
	}
	leftText, doneText, hasDone := strings.Cut(stem[at+1:], "-")
	left, ok = number(leftText)
	if !ok {
		return Uncounted, 0
	}
	if hasDone {
		if done, ok = number(doneText); !ok {
			return Uncounted, 0
		}
	}
	return left, done
}

func number(text string) (int, bool) {
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n <= math.MaxInt32
}
