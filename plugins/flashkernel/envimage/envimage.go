// Package envimage is the codec of U-Boot's environment with a checksum, as a file
// or a flash partition holds it: bytes in, values out, no I/O.
//
// The format, from U-Boot's include/env_internal.h and lib/hashtable.c: a CRC-32
// of all that follows it, in little endian as ARM has it; in an image of a U-Boot
// that was built for two copies a byte of flags, which the checksum does not cover;
// then "name=value" each with a NUL behind it, one more NUL, and filling up to the
// size, which the checksum covers. "env import -c" and "env export -c" read and
// write it, as do fw_printenv and fw_setenv.
package envimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// Errors of Parse and Bytes.
var (
	ErrMalformed = errors.New("not a U-Boot environment")
	ErrFull      = errors.New("the environment is full")
	ErrValue     = errors.New("not possible in a U-Boot environment")
)

// active is the flag of the copy in use (ENV_REDUND_ACTIVE).
const active = 1

// Layout says how an image begins.
type Layout struct {
	// Flags is true for a U-Boot that was built for two copies of its own
	// environment (CONFIG_SYS_REDUNDAND_ENVIRONMENT): then every image that it
	// reads or writes has the byte of flags.
	Flags bool
}

func (l Layout) header() int {
	if l.Flags {
		return 5
	}
	return 4
}

// Variable is one name with its value, which is never "".
type Variable struct {
	Name  string
	Value string
}

// Environment is a list of variables, in the order in which they are written. The
// zero Environment is an empty one.
type Environment struct {
	variables []Variable
}

// Parse decodes an image as "env import -c" reads it. The image's size is part of
// the format: data must be all of it. A variable without value is one that is not
// set; of two with the same name the last one counts.
func Parse(data []byte, layout Layout) (Environment, error) {
	header := layout.header()
	if len(data) <= header {
		return Environment{}, fmt.Errorf("%w: it has %d bytes", ErrMalformed, len(data))
	}
	if sum := crc32.ChecksumIEEE(data[header:]); sum != binary.LittleEndian.Uint32(data) {
		return Environment{}, fmt.Errorf("%w: its checksum does not match", ErrMalformed)
	}
	var e Environment
	for rest := data[header:]; len(rest) > 0 && rest[0] != 0; {
		line, tail, ended := bytes.Cut(rest, []byte{0})
		if !ended {
			return Environment{}, fmt.Errorf("%w: the last variable does not end", ErrMalformed)
		}
		rest = tail
		// U-Boot passes over blanks, and takes a line for a comment.
		text := strings.TrimLeft(string(line), " \t")
		if text == "" || text[0] == '#' {
			continue
		}
		name, value, _ := strings.Cut(text, "=")
		if name == "" {
			return Environment{}, fmt.Errorf("%w: %q has no name", ErrMalformed, text)
		}
		e.Set(name, unescape(value))
	}
	return e, nil
}

// escape protects backslashes: U-Boot takes what follows one as it stands, also
// between NULs.
func escape(value string) string { return strings.ReplaceAll(value, `\`, `\\`) }

func unescape(value string) string {
	var text strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' && i+1 < len(value) {
			i++
		}
		text.WriteByte(value[i])
	}
	return text.String()
}

// Get gives the value of a variable, "" when it is not set.
func (e Environment) Get(name string) string {
	for _, v := range e.variables {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

// Set gives a variable a value, in its place or after the last one. "" takes it
// away, as it does in U-Boot.
func (e *Environment) Set(name, value string) {
	for i, v := range e.variables {
		if v.Name != name {
			continue
		}
		if value == "" {
			e.variables = append(e.variables[:i:i], e.variables[i+1:]...)
			return
		}
		e.variables = append([]Variable(nil), e.variables...)
		e.variables[i].Value = value
		return
	}
	if value != "" {
		e.variables = append(e.variables[:len(e.variables):len(e.variables)], Variable{name, value})
	}
}

// Variables gives a copy of all variables in their order.
func (e Environment) Variables() []Variable { return append([]Variable(nil), e.variables...) }

// Bytes encodes the environment as an image of this many bytes.
//
// Errors: ErrFull; ErrValue for what could not be read back.
func (e Environment) Bytes(size int, layout Layout) ([]byte, error) {
	var text strings.Builder
	for _, v := range e.variables {
		if err := v.check(); err != nil {
			return nil, err
		}
		text.WriteString(v.Name + "=" + escape(v.Value) + "\x00")
	}
	header := layout.header()
	if used := header + text.Len() + 1; used > size {
		return nil, fmt.Errorf("%w: %d bytes of %d", ErrFull, used, size)
	}
	data := make([]byte, size)
	copy(data[header:], text.String())
	if layout.Flags {
		data[4] = active
	}
	binary.LittleEndian.PutUint32(data, crc32.ChecksumIEEE(data[header:]))
	return data, nil
}

func (v Variable) check() error {
	switch {
	case v.Name == "", strings.ContainsAny(v.Name, "=\x00"), strings.ContainsAny(v.Name[:1], "# \t"):
		return fmt.Errorf("%w: the name %q", ErrValue, v.Name)
	case strings.Contains(v.Value, "\x00"):
		return fmt.Errorf("%w: NUL in the value of %s", ErrValue, v.Name)
	}
	return nil
}
