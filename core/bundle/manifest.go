// Package bundle reads and writes what is delivered: a signed manifest, and payloads that
// it binds. docs/format/bundle.md is the specification.
//
// Its promises: nothing of a manifest is given to the caller before enough trusted keys
// were seen to have signed it, and no byte of a payload before its piece was verified.
// Memory goes by the limits of the format and the size of one piece.
package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ManifestType is the DSSE payload type of a manifest.
const ManifestType = "application/vnd.trebuchet.manifest.v1+json"

// Digest is a SHA-256. As text it is "sha256:" and 64 lower-case hexadecimal digits.
type Digest [sha256.Size]byte

const digestPrefix = "sha256:"

// String gives the text.
func (d Digest) String() string { return digestPrefix + hex.EncodeToString(d[:]) }

// MarshalText gives the text.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the text.
func (d *Digest) UnmarshalText(text []byte) error {
	digits, ok := strings.CutPrefix(string(text), digestPrefix)
	if !ok || len(digits) != 2*len(d) || strings.ToLower(digits) != digits {
		return fmt.Errorf("%q is not a digest: sha256: and 64 hexadecimal digits", text)
	}
	if _, err := hex.Decode(d[:], []byte(digits)); err != nil {
		return fmt.Errorf("%q is not a digest: %w", text, err)
	}
	return nil
}

// Manifest says what a bundle is. Sizes are in bytes.
type Manifest struct {
	Product        string            `json:"product"`
	Hardware       []string          `json:"hardware,omitempty"` // none: all
	Version        string            `json:"version"`
	MinimumUpdater string            `json:"minimum_updater,omitempty"`
	Tree           Digest            `json:"tree"`      // of the result
	TreeSize       int64             `json:"tree_size"` // of its plain files together
	Kernel         string            `json:"kernel,omitempty"`
	BootSize       int64             `json:"boot_size,omitempty"` // of its kernel set
	Notes          string            `json:"notes,omitempty"`
	Attributes     map[string]string `json:"attributes,omitempty"`
	Payloads       []Payload         `json:"payloads"`
}

// Payload is one way to the manifest's tree.
type Payload struct {
	// From is the digest of the tree that it starts from, nil for nothing.
	From        *Digest `json:"from,omitempty"`
	FromVersion string  `json:"from_version,omitempty"`
	Size        int64   `json:"size"`
	Written     int64   `json:"written"` // bytes of files that it makes
	Index       Digest  `json:"index"`   // of the payload's index
}

// Limits of a bundle.
const (
	maxEnvelope = 1 << 20
	maxPayloads = 1024
	// maxSize bounds a payload, so that its index stays within 2 GiB.
	maxSize = 1 << 46
)

// ErrMalformed: the bytes are not a bundle of this version.
var ErrMalformed = errors.New("malformed bundle")

func malformed(format string, arguments ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, arguments...)...)
}

// parseManifest reads a manifest that was signed.
func parseManifest(text []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, malformed("its manifest cannot be read: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// check finds what a manifest lacks.
func (m *Manifest) check() error {
	switch {
	case m.Product == "":
		return malformed("its manifest names no product")
	case m.Version == "":
		return malformed("its manifest names no version")
	case m.TreeSize < 0 || m.BootSize < 0:
		return malformed("its manifest has a size below 0")
	case len(m.Payloads) == 0 || len(m.Payloads) > maxPayloads:
		return malformed("its manifest has %d payloads; 1 to %d can be", len(m.Payloads), maxPayloads)
	}
	seen := map[string]bool{}
	for _, p := range m.Payloads {
		from := ""
		if p.From != nil {
			from = p.From.String()
		}
		switch {
		case p.Size <= 0 || p.Size > maxSize || p.Written < 0:
			return malformed("a payload has %d bytes and makes %d", p.Size, p.Written)
		case seen[from]:
			return malformed("two payloads start from the same tree")
		}
		seen[from] = true
	}
	return nil
}

// Choose gives the number of the payload for a machine whose tree has this digest: the
// smaller one of the delta that starts from it and the full one. full says that only
// that may be taken. It gives -1 when there is none.
func (m *Manifest) Choose(tree Digest, full bool) int {
	best := -1
	for i, p := range m.Payloads {
		if p.From != nil && (full || *p.From != tree) {
			continue
		}
		if best < 0 || p.Size < m.Payloads[best].Size {
			best = i
		}
	}
	return best
}
