package bootdir

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

	"github.com/trebuchet-update/tbupdate/sdk"
)

// RecordFile is written last into an entry's directory: a directory without it is
// what an interrupted Install left.
const RecordFile = "record.json"

// ErrDamaged says that a record is not what was written.
var ErrDamaged = errors.New("the record is damaged")

// Record is what Install writes down about an entry.
type Record struct {
	ID             string          `json:"id"`
	Title          string          `json:"title"`
	Version        string          `json:"version"` // kernel release
	Arguments      []string        `json:"arguments"`
	TrialArguments []string        `json:"trial_arguments"`
	Bytes          uint64          `json:"bytes"`
	Files          []InstalledFile `json:"files"`
	Scripts        []InstalledFile `json:"scripts,omitempty"`   // of the loader, without source
	Made           []InstalledFile `json:"made,omitempty"`      // by a Maker
	MadeFrom       string          `json:"made_from,omitempty"` // as Maker.MadeFrom has it
	Checksum       string          `json:"checksum,omitempty"`
}

// InstalledFile is one file of an entry. Its target is a path on the boot
// filesystem.
type InstalledFile struct {
	Role   sdk.FileRole `json:"role,omitempty"`
	Source string       `json:"source,omitempty"`
	Target string       `json:"target"`
	Size   uint64       `json:"size"`
	SHA256 string       `json:"sha256"`
}

// EntryPath gives the path, on the boot filesystem, of a file of an entry.
func EntryPath(id string, names ...string) string {
	return path.Join(append([]string{Directory, id}, names...)...)
}

// encode gives the record as JSON, with a checksum over itself.
func (r Record) encode() ([]byte, error) {
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

func decodeRecord(data []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	again, err := r.encode()
	if err != nil {
		return Record{}, err
	}
	if !bytes.Equal(again, data) {
		return Record{}, fmt.Errorf("%w: its checksum does not match", ErrDamaged)
	}
	return r, nil
}

// ReadRecord reads the record of an entry.
//
// Errors: os.ErrNotExist when the entry is not, or not wholly, installed;
// ErrDamaged.
func ReadRecord(v Volume, id string) (Record, error) {
	data, err := os.ReadFile(v.Path(EntryPath(id, RecordFile)))
	if err != nil {
		return Record{}, err
	}
	r, err := decodeRecord(data)
	if err != nil {
		return Record{}, err
	}
	if r.ID != id {
		return Record{}, fmt.Errorf("%w: it is that of %q", ErrDamaged, r.ID)
	}
	return r, nil
}

// File gives the target of the file with a role, "" for none.
func (r Record) File(role sdk.FileRole) string {
	for _, f := range slices.Concat(r.Files, r.Made) {
		if f.Role == role {
			return f.Target
		}
	}
	return ""
}

// OneDeviceTree gives the target of the device tree when there is exactly one.
func (r Record) OneDeviceTree() string {
	count := 0
	for _, f := range r.Files {
		if f.Role == sdk.RoleDeviceTree {
			count++
		}
	}
	if count != 1 {
		return ""
	}
	return r.File(sdk.RoleDeviceTree)
}

// All gives every file but the record itself.
func (r Record) All() []InstalledFile { return slices.Concat(r.Files, r.Made, r.Scripts) }

// kernelSet gives the record in the words of the contract.
func (r Record) kernelSet() sdk.KernelSet {
	set := sdk.KernelSet{Version: r.Version, Bytes: r.Bytes}
	for _, f := range slices.Concat(r.Files, r.Made) {
		set.Files = append(set.Files, sdk.KernelFile(f))
	}
	return set
}

// InstalledIDs lists the directories of entries, whole or not, sorted.
func InstalledIDs(v Volume) ([]string, error) {
	names, err := os.ReadDir(v.Path(Directory))
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
