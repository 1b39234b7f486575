package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"github.com/trebuchet-update/tbupdate/plugins/extboot/extfs"
	"github.com/trebuchet-update/tbupdate/plugins/extboot/grubcfg"
	"github.com/trebuchet-update/tbupdate/sdk"
)

// recordFile is written last into an entry's directory: a directory without it is
// what an interrupted Install left.
const recordFile = "record.json"

// errDamaged says that a record is not what was written.
var errDamaged = errors.New("the record is damaged")

// record is what Install writes down about an entry.
type record struct {
	ID             string          `json:"id"`
	Title          string          `json:"title"`
	Version        string          `json:"version"` // kernel release
	Arguments      []string        `json:"arguments"`
	TrialArguments []string        `json:"trial_arguments"`
	Bytes          uint64          `json:"bytes"`
	Files          []installedFile `json:"files"`
	Scripts        []installedFile `json:"scripts,omitempty"` // of the loader, without source
	Checksum       string          `json:"checksum,omitempty"`
}

// installedFile is one file of an entry. Its target is a path on the boot
// filesystem.
type installedFile struct {
	Role   sdk.FileRole `json:"role,omitempty"`
	Source string       `json:"source,omitempty"`
	Target string       `json:"target"`
	Size   uint64       `json:"size"`
	SHA256 string       `json:"sha256"`
}

// entryPath gives the path, on the boot filesystem, of a file of an entry.
func entryPath(id string, names ...string) string {
	return path.Join(append([]string{grubcfg.Directory, id}, names...)...)
}

// encode gives the record as JSON, with a checksum over itself.
func (r record) encode() ([]byte, error) {
	r.Checksum = ""
	plain, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(plain)
	r.Checksum = hex.EncodeToString(sum[:])
	text, err := json.MarshalIndent(r, "", "  ")
	return append(text, '\n'), err
}

func decodeRecord(data []byte) (record, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	again, err := r.encode()
	if err != nil {
		return record{}, err
	}
	if !bytes.Equal(again, data) {
		return record{}, fmt.Errorf("%w: its checksum does not match", errDamaged)
	}
	return r, nil
}

// readRecord reads the record of an entry.
//
// Errors: os.ErrNotExist when the entry is not, or not wholly, installed;
// errDamaged.
func readRecord(v *extfs.Volume, id string) (record, error) {
	data, err := os.ReadFile(v.Path(entryPath(id, recordFile)))
	if err != nil {
		return record{}, err
	}
	r, err := decodeRecord(data)
	if err != nil {
		return record{}, err
	}
	if r.ID != id {
		return record{}, fmt.Errorf("%w: it is that of %q", errDamaged, r.ID)
	}
	return r, nil
}

// file gives the target of the file with a role, "" for none.
func (r record) file(role sdk.FileRole) string {
	for _, f := range r.Files {
		if f.Role == role {
			return f.Target
		}
	}
	return ""
}

// oneDeviceTree gives the device tree when there is exactly one.
func (r record) oneDeviceTree() string {
	count := 0
	for _, f := range r.Files {
		if f.Role == sdk.RoleDeviceTree {
			count++
		}
	}
	if count != 1 {
		return ""
	}
	return r.file(sdk.RoleDeviceTree)
}

// all gives every file but the record itself.
func (r record) all() []installedFile { return slices.Concat(r.Files, r.Scripts) }

// kernelSet gives the record in the words of the contract.
func (r record) kernelSet() sdk.KernelSet {
	set := sdk.KernelSet{Version: r.Version, Bytes: r.Bytes}
	for _, f := range r.Files {
		set.Files = append(set.Files, sdk.KernelFile(f))
	}
	return set
}

// installedIDs lists the directories of entries, whole or not, sorted.
func installedIDs(v *extfs.Volume) ([]string, error) {
	names, err := os.ReadDir(v.Path(grubcfg.Directory))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, name := range names {
		if name.IsDir() && checkID("list", name.Name()) == nil {
			ids = append(ids, name.Name())
		}
	}
	return ids, nil
}
