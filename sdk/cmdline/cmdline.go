// Package cmdline takes a kernel command line apart and puts one together, by the
// kernel's own rules (next_arg in lib/cmdline.c): arguments end at white space that
// is not between double quotes, quotes around a whole argument or a whole value are
// not part of it, and there is no escape character. It is pure.
//
// An argument is kept as it is written, quotes included, so that what is handed on
// stays what it was; Cut gives what it means.
package cmdline

import (
	"fmt"
	"strings"
)

// Split cuts a command line into its arguments. It ends at the first NUL, as the
// kernel's does.
func Split(line string) []string {
	line, _, _ = strings.Cut(line, "\x00")
	var arguments []string
	for rest := trimSpace(line); rest != ""; {
		end, quoted := 0, false
		for ; end < len(rest) && (quoted || !isSpace(rest[end])); end++ {
			if rest[end] == '"' {
				quoted = !quoted
			}
		}
		arguments = append(arguments, rest[:end])
		rest = trimSpace(rest[end:])
	}
	return arguments
}

// Cut gives an argument's name and its value without the quotes around them; found
// is false for an argument without "=".
func Cut(argument string) (name, value string, found bool) {
	inner, quoted := strings.CutPrefix(argument, `"`)
	if inner == "" {
		return "", "", false
	}
	// A "=" at the very beginning is part of the name.
	equals := strings.IndexByte(inner[1:], '=') + 1
	if equals == 0 {
		if quoted {
			inner = strings.TrimSuffix(inner, `"`)
		}
		return inner, "", false
	}
	name, value = inner[:equals], inner[equals+1:]
	value, quotedValue := strings.CutPrefix(value, `"`)
	if quoted || quotedValue {
		value = strings.TrimSuffix(value, `"`)
	}
	return name, value, true
}

// Value gives the value of the last NAME=VALUE on a command line, "" when there is
// none. What stands behind "--" counts as well: the kernel leaves that to init, but
// those who read /proc/cmdline do not.
func Value(line, name string) string {
	last := ""
	for _, argument := range Split(line) {
		if n, value, found := Cut(argument); found && n == name {
			last = value
		}
	}
	return last
}

// Join makes a command line of arguments, each as Split gives it or without any
// quotes; the latter gets some where it holds white space. It fails for what would
// not be the same arguments again: an empty one, one with control characters or with
// a quote that does not end, or one that is really several.
func Join(arguments []string) (string, error) {
	words := make([]string, 0, len(arguments))
	for _, argument := range arguments {
		word, err := quote(argument)
		if err != nil {
			return "", err
		}
		words = append(words, word)
	}
	return strings.Join(words, " "), nil
}

func quote(argument string) (string, error) {
	switch {
	case argument == "":
		return "", fmt.Errorf("a kernel argument is empty")
	case strings.ContainsFunc(argument, isControl):
		return "", fmt.Errorf("kernel argument %q has control characters", argument)
	case strings.Count(argument, `"`)%2 != 0:
		return "", fmt.Errorf("kernel argument %q has a double quote without its match", argument)
	case !hasSpace(argument):
		return argument, nil
	case strings.Contains(argument, `"`):
		if parts := Split(argument); len(parts) != 1 || parts[0] != argument {
			return "", fmt.Errorf("kernel argument %q has white space outside its quotes", argument)
		}
		return argument, nil
	}
	name, value, found := Cut(argument)
	if !found || hasSpace(name) {
		return `"` + argument + `"`, nil
	}
	return name + `="` + value + `"`, nil
}

// isSpace is the kernel's isspace, whose table (lib/ctype.c) is that of Latin-1: a
// byte 0xa0 separates arguments also in the middle of a character in UTF-8.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' || c == 0xa0 }

func hasSpace(s string) bool {
	for i := range len(s) {
		if isSpace(s[i]) {
			return true
		}
	}
	return false
}

// trimSpace drops the white space in front.
func trimSpace(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	return s
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
