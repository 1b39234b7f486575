package main

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// varstore is the file in which OVMF keeps its variables: a firmware volume with one
// store, in which variables stand behind each other (EDK II, MdePkg's
// PiFirmwareVolume.h and MdeModulePkg's VariableFormat.h). A deleted one stays, with
// another state.
type varstore struct {
	t    testing.TB
	path string
}

const (
	storeHeader    = 28 // of the store, behind that of the volume
	variableHeader = 60
	stateAdded     = 0x3f
	stateDeleted   = 0x3d
)

// vendor is loaderGUID as it is in memory.
const vendor = "82b0674a4c0acf41b6c7440b29bb8c4f"

// stored is a variable of systemd-boot.
type stored struct {
	at   int // where its header is
	name string
	data []byte
}

// read gives all variables of systemd-boot that are not deleted, and where the next one
// would be.
func (s varstore) read() (all []stored, content []byte, end int) {
	s.t.Helper()
	content, err := os.ReadFile(s.path)
	if err != nil || string(content[40:44]) != "_FVH" {
		s.t.Fatalf("%s is no firmware volume: %v", s.path, err)
	}
	little := binary.LittleEndian
	end = int(little.Uint16(content[48:])) + storeHeader
	for little.Uint16(content[end:]) == 0x55aa {
		header := content[end:]
		nameEnd := variableHeader + int(little.Uint32(header[36:]))
		dataEnd := nameEnd + int(little.Uint32(header[40:]))
		if header[2] == stateAdded && hex.EncodeToString(header[44:60]) == vendor {
			name := strings.TrimRight(decodeUTF16(header[variableHeader:nameEnd]), "\x00")
			all = append(all, stored{end, name, header[nameEnd:dataEnd]})
		}
		end += (dataEnd + 3) &^ 3
	}
	return all, content, end
}

// get gives the value of a variable as efivarfs would, nil for none.
func (s varstore) get(name string) []byte {
	s.t.Helper()
	all, _, _ := s.read()
	for _, v := range all {
		if v.name == name {
			return append([]byte{7, 0, 0, 0}, v.data...)
		}
	}
	return nil
}

// set gives a variable a value as efivarfs would, nil to delete it.
func (s varstore) set(name string, value []byte) {
	s.t.Helper()
	all, content, end := s.read()
	for _, v := range all {
		if v.name == name {
			content[v.at+2] = stateDeleted
		}
	}
	if value != nil {
		text, data := encodeUTF16(name+"\x00"), value[4:]
		header := make([]byte, variableHeader)
		copy(header, []byte{0xaa, 0x55, stateAdded, 0})
		copy(header[4:], value[:4])
		binary.LittleEndian.PutUint32(header[36:], uint32(len(text)))
		binary.LittleEndian.PutUint32(header[40:], uint32(len(data)))
		guid, err := hex.DecodeString(vendor)
		mustDo(s.t, err)
		copy(header[44:], guid)
		for _, part := range [][]byte{header, text, data} {
			end += copy(content[end:], part)
		}
	}
	mustDo(s.t, os.WriteFile(s.path, content, 0o600))
}

func TestVarstore(t *testing.T) {
	s := varstore{t, newStore(t)}
	for _, value := range [][]byte{nil, {7, 0, 0, 0, 'a', 0, 0, 0}, {7, 0, 0, 0, 'b', 0, 'c', 0, 0, 0}, nil} {
		s.set(variableOneShot, value)
		s.set(variableDefault, []byte{7, 0, 0, 0, 'x', 0, 0, 0})
		if diff := cmp.Diff(value, s.get(variableOneShot)); diff != "" {
			t.Error(diff)
		}
		if got := s.get(variableDefault); len(got) != 8 || got[4] != 'x' {
			t.Errorf("another variable is %q", got)
		}
	}
}
