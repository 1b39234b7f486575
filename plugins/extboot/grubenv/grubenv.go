// Package grubenv is the codec of GRUB's environment block, the file that GRUB's
// load_env reads and save_env overwrites in place: bytes in, values out, no I/O.
//
// The format, from GRUB's grub-core/lib/envblk.c: exactly 1024 bytes, a signature
// line, then lines NAME=VALUE in which a backslash escapes a backslash or a line
// feed, then '#' up to the end. GRUB starts to look for free room at the end, so
// the block must end in '#' or in a line feed.
package grubenv

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Size is the length of a block in bytes. GRUB takes other lengths, but its own
// tools write this one, and save_env cannot change it.
const Size = 1024

// SectorSize is the unit that a disk writes whole. What lies within the first
// sector of a block changes at once or not at all.
const SectorSize = 512

const signature = "# GRUB Environment Block\n"

// Errors of Parse and Bytes.
var (
	ErrMalformed = errors.New("not an environment block")
	ErrFull      = errors.New("the environment block is full")
)

// Variable is one line of a block.
type Variable struct {
	Name  string
	Value string
}

// Block is the list of variables of an environment block, in their order on disk.
// Names that the caller does not know stay where they are. The zero Block is an
// empty one.
type Block struct {
	variables []Variable
}

// Parse decodes a block as GRUB's load_env reads it. Comments are not kept. A line
// that is neither a comment nor an assignment is an error, as is a block that
// save_env could not write back.
func Parse(data []byte) (Block, error) {
	if len(data) != Size {
		return Block{}, fmt.Errorf("%w: %d bytes instead of %d", ErrMalformed, len(data), Size)
	}
	rest, ok := bytes.CutPrefix(data, []byte(signature))
	if !ok {
		return Block{}, fmt.Errorf("%w: the first line is not GRUB's", ErrMalformed)
	}
	rest = bytes.TrimRight(rest, "#")
	var block Block
	for len(rest) > 0 {
		line, tail, err := cutLine(rest)
		if err != nil {
			return Block{}, err
		}
		rest = tail
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || name == "" {
			return Block{}, fmt.Errorf("%w: line %q assigns nothing", ErrMalformed, line)
		}
		block.Set(name, value)
	}
	return block, nil
}

// cutLine takes the first line off data and undoes its escapes. A comment that
// is cut off by the padding ("#" without line feed) was trimmed by Parse.
func cutLine(data []byte) (line string, rest []byte, err error) {
	var text strings.Builder
	for i := 0; i < len(data); i++ {
		switch {
		case data[i] == '\n':
			return text.String(), data[i+1:], nil
		case data[i] == '\\' && i+1 < len(data):
			i++
			text.WriteByte(data[i])
		case data[i] == 0:
			return "", nil, fmt.Errorf("%w: NUL in a line", ErrMalformed)
		default:
			text.WriteByte(data[i])
		}
	}
	return "", nil, fmt.Errorf("%w: the last line does not end", ErrMalformed)
}

// Get gives the value of a variable and whether it is set.
func (b Block) Get(name string) (string, bool) {
	for _, v := range b.variables {
		if v.Name == name {
			return v.Value, true
		}
	}
	return "", false
}

// Set gives a variable a value, in its place or after the last one.
func (b *Block) Set(name, value string) {
	for i := range b.variables {
		if b.variables[i].Name == name {
			b.variables[i].Value = value
			return
		}
	}
	b.variables = append(b.variables, Variable{name, value})
}

// Unset removes a variable.
func (b *Block) Unset(name string) {
	b.variables = slices.DeleteFunc(b.variables, func(v Variable) bool { return v.Name == name })
}

// Variables gives a copy of all variables in their order.
func (b Block) Variables() []Variable { return slices.Clone(b.variables) }

// Clone gives a copy that changes independently.
func (b Block) Clone() Block { return Block{variables: slices.Clone(b.variables)} }

// Bytes encodes the block: always Size bytes.
//
// Errors: ErrFull when the variables do not fit; ErrMalformed for a name that
// could not be read back.
func (b Block) Bytes() ([]byte, error) {
	var text strings.Builder
	text.WriteString(signature)
	escape := strings.NewReplacer(`\`, `\\`, "\n", "\\\n")
	for _, v := range b.variables {
		if v.Name == "" || v.Name[0] == '#' || strings.ContainsAny(v.Name, "=\\\n\x00") || strings.Contains(v.Value, "\x00") {
			return nil, fmt.Errorf("%w: variable %q", ErrMalformed, v.Name)
		}
		text.WriteString(v.Name + "=" + escape.Replace(v.Value) + "\n")
	}
	if text.Len() > Size {
		return nil, fmt.Errorf("%w: %d bytes of %d", ErrFull, text.Len(), Size)
	}
	return append([]byte(text.String()), bytes.Repeat([]byte{'#'}, Size-text.Len())...), nil
}

// SectorBytes encodes the block like Bytes and promises that its second sector is
// padding alone, so that writing it over another such block is one sector's
// change: a loss of power leaves either of the two, never a mix.
//
// Errors: as Bytes; ErrFull when the variables need more than one sector.
func (b Block) SectorBytes() ([]byte, error) {
	data, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	if used := len(bytes.TrimRight(data, "#")); used > SectorSize {
		return nil, fmt.Errorf("%w: %d bytes of %d", ErrFull, used, SectorSize)
	}
	return data, nil
}
