package kernelset

import "strings"

// CompareVersions orders kernel releases as people mean them: runs of digits by
// their number, other runs by their bytes, and a release candidate ("-rc3",
// "~rc3") before the release itself. It gives -1, 0 or +1.
func CompareVersions(a, b string) int {
	for a != "" || b != "" {
		var wordA, wordB string
		wordA, a = cutRun(a, false)
		wordB, b = cutRun(b, false)
		if order := compareWords(wordA, wordB); order != 0 {
			return order
		}
		wordA, a = cutRun(a, true)
		wordB, b = cutRun(b, true)
		if order := compareNumbers(wordA, wordB); order != 0 {
			return order
		}
	}
	return 0
}

// cutRun takes the leading run of digits, or of other bytes, off a text.
func cutRun(text string, digits bool) (run, rest string) {
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9') == digits {
		end++
	}
	return text[:end], text[end:]
}

func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return sign(len(a) - len(b))
	}
	return strings.Compare(a, b)
}

func compareWords(a, b string) int {
	if candidateA, candidateB := isCandidate(a), isCandidate(b); candidateA != candidateB {
		if candidateA {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

func isCandidate(word string) bool {
	return strings.HasPrefix(word, "~") || strings.HasPrefix(word, "-rc")
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
