package bundle

import (
	"cmp"
	"strings"
)

// CompareVersions orders versions as the UAPI Group's Version Format Specification
// (UAPI.10) does: -1, 0 or 1. In short: numbers by their value, letters by their bytes;
// "1~rc1" is before "1", which is before "1-2" and "1.1".
func CompareVersions(a, b string) int {
	for {
		a, b = strings.TrimLeftFunc(a, isFiller), strings.TrimLeftFunc(b, isFiller)
		if order, both := separator(a, b, '~'); order != 0 {
			return order
		} else if both {
			a, b = a[1:], b[1:]
			continue
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		skipped := false
		for _, s := range []byte("-^.") {
			order, both := separator(a, b, s)
			if order != 0 {
				return order
			}
			if both {
				a, b, skipped = a[1:], b[1:], true
				break
			}
		}
		if skipped {
			continue
		}
		var order int
		if a, b, order = compareRuns(a, b); order != 0 {
			return order
		}
	}
}

// separator compares two versions of which either may begin with a separator: one that
// does is before one that does not.
func separator(a, b string, s byte) (order int, both bool) {
	beginsA, beginsB := strings.HasPrefix(a, string(s)), strings.HasPrefix(b, string(s))
	switch {
	case beginsA && beginsB:
		return 0, true
	case beginsA:
		return -1, false
	case beginsB:
		return 1, false
	}
	return 0, false
}

// compareRuns compares the numbers that two versions begin with, if one of them does, or
// else the letters, and gives what follows.
func compareRuns(a, b string) (restA, restB string, order int) {
	kind := isLetter
	if isDigit(rune(a[0])) || isDigit(rune(b[0])) {
		kind = isDigit
	}
	restA, restB = strings.TrimLeftFunc(a, kind), strings.TrimLeftFunc(b, kind)
	a, b = a[:len(a)-len(restA)], b[:len(b)-len(restB)]
	if (a == "") != (b == "") {
		return restA, restB, cmp.Compare(len(a), len(b)) // a number is after none
	}
	if kind(rune('0')) {
		a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
		if order := cmp.Compare(len(a), len(b)); order != 0 {
			return restA, restB, order
		}
	}
	return restA, restB, strings.Compare(a, b)
}

func isDigit(r rune) bool  { return r >= '0' && r <= '9' }
func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

// isFiller tells what only stands between.
func isFiller(r rune) bool {
	return !isDigit(r) && !isLetter(r) && !strings.ContainsRune("~-^.", r)
}
