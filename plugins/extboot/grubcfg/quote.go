// Package grubcfg writes the GRUB scripts of this plugin and reads as much of
// foreign ones as it must: text in, text out, no I/O.
package grubcfg

import (
	"errors"
	"fmt"
	"strings"
)

// ErrArgument says that GRUB would hand a kernel argument on changed.
var ErrArgument = errors.New("GRUB cannot hand on this argument unchanged")

// Quote gives a word of GRUB's script language that stands for exactly text. Like
// in a shell nothing is special between single quotes but the next single quote
// (GRUB manual, "Quoting").
func Quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// Unquote undoes Quote.
func Unquote(word string) (string, bool) {
	inner, ok := strings.CutPrefix(word, "'")
	if !ok {
		return "", false
	}
	inner, ok = strings.CutSuffix(inner, "'")
	if !ok {
		return "", false
	}
	parts := strings.Split(inner, `'\''`)
	for _, part := range parts {
		if strings.Contains(part, "'") {
			return "", false
		}
	}
	return strings.Join(parts, "'"), true
}

// Arguments gives the words of a "linux" command for kernel arguments, with a
// space before each. An argument is meant as the kernel reads it from its command
// line, where double quotes keep spaces together.
//
// GRUB puts an argument that holds a space between double quotes by itself, and
// puts a backslash before quotes and backslashes (grub-core/lib/cmdline.c), which
// the kernel does not undo. So quotes around a value are taken off here, and
// what GRUB would change is refused with ErrArgument.
func Arguments(arguments []string) (string, error) {
	var words strings.Builder
	for _, argument := range arguments {
		plain, err := plainArgument(argument)
		if err != nil {
			return "", err
		}
		words.WriteString(" " + Quote(plain))
	}
	return words.String(), nil
}

func plainArgument(argument string) (string, error) {
	plain := argument
	if name, value, ok := strings.Cut(argument, `="`); ok && strings.HasSuffix(value, `"`) && !strings.Contains(name, `"`) {
		plain = name + "=" + strings.TrimSuffix(value, `"`)
	}
	for _, c := range []byte(plain) {
		switch {
		case c < ' ' || c == 0x7f:
			return "", fmt.Errorf("%w: control character in %q", ErrArgument, argument)
		case c == '\\', c == '\'', c == '"':
			return "", fmt.Errorf("%w: %q in %q", ErrArgument, c, argument)
		}
	}
	if plain == "" {
		return "", fmt.Errorf("%w: it is empty", ErrArgument)
	}
	return plain, nil
}
