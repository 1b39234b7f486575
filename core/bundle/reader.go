package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Magic begins every bundle.
const Magic = "TBUNDL1\n"

// Skipper is a source that can pass over bytes without fetching them.
type Skipper interface {
	// Skip passes over the next n bytes.
	Skip(n int64) error
}

// Reader reads a bundle from its beginning to its end.
type Reader struct {
	// Manifest is what was signed, and ID the digest of its bytes.
	Manifest *Manifest
	ID       Digest
	// Signers are the names of the trusted keys that signed it.
	Signers []string

	source  io.Reader
	indexes [][]byte
}

// NewReader reads and verifies the manifest and the indexes of the bundle in source. It
// reads no further: whether the bundle fits is for the caller to say, before Payload.
//
// Errors: ErrUntrusted, ErrMalformed (of which ErrDamaged is a kind), and those of the
// source.
func NewReader(ctx context.Context, source io.Reader, trust Trust) (*Reader, error) {
	envelope, err := readEnvelope(source)
	if err != nil {
		return nil, err
	}
	text, signers, err := trust.open(ctx, envelope)
	if err != nil {
		return nil, err
	}
	return newReader(source, text, signers)
}

// NewUnverifiedReader is NewReader for whoever wants to look at a bundle without saying
// whom to trust. KeyIDs are those of the signatures, of which none was verified.
func NewUnverifiedReader(source io.Reader) (r *Reader, keyIDs []string, err error) {
	envelope, err := readEnvelope(source)
	if err != nil {
		return nil, nil, err
	}
	text, err := envelope.DecodeB64Payload()
	if err != nil {
		return nil, nil, malformed("its envelope cannot be read: %w", err)
	}
	for _, s := range envelope.Signatures {
		keyIDs = append(keyIDs, s.KeyID)
	}
	r, err = newReader(source, text, nil)
	return r, keyIDs, err
}

func newReader(source io.Reader, text []byte, signers []string) (*Reader, error) {
	manifest, err := parseManifest(text)
	if err != nil {
		return nil, err
	}
	r := &Reader{Manifest: manifest, ID: sha256.Sum256(text), Signers: signers, source: source}
	for i := range manifest.Payloads {
		index, err := readIndex(source, &manifest.Payloads[i])
		if err != nil {
			return nil, err
		}
		r.indexes = append(r.indexes, index)
	}
	return r, nil
}

// readEnvelope reads the beginning of a bundle.
func readEnvelope(source io.Reader) (*dsse.Envelope, error) {
	magic := make([]byte, len(Magic))
	switch _, err := io.ReadFull(source, magic); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), err == nil && string(magic) != Magic:
		return nil, malformed("it does not begin as a bundle does")
	case err != nil:
		return nil, err
	}
	size, err := readUvarint(source)
	if err != nil {
		return nil, err
	}
	if size > maxEnvelope {
		return nil, malformed("its envelope has %d bytes, more than %d", size, maxEnvelope)
	}
	var text bytes.Buffer
	if _, err := io.CopyN(&text, source, int64(size)); err != nil {
		return nil, cut(err)
	}
	return parseEnvelope(text.Bytes())
}

// readUvarint reads a number, byte by byte: what follows it is not taken.
func readUvarint(source io.Reader) (uint64, error) {
	var number []byte
	for next := []byte{0x80}; next[0]&0x80 != 0 && len(number) < binary.MaxVarintLen64; number = append(number, next[0]) {
		if _, err := io.ReadFull(source, next); err != nil {
			return 0, cut(err)
		}
	}
	n, length := binary.Uvarint(number)
	if length <= 0 || length != len(binary.AppendUvarint(nil, n)) {
		return 0, malformed("the size of its envelope is no number")
	}
	return n, nil
}

// Payload gives the payload of this number, verified piece by piece as it is read. It
// can be asked for one of them, once; a Skipper is not read for those before it.
func (r *Reader) Payload(number int) (io.Reader, error) {
	var before int64
	for _, p := range r.Manifest.Payloads[:number] {
		before += p.Size
	}
	if err := skip(r.source, before); err != nil {
		return nil, fmt.Errorf("cannot pass over what is not needed: %w", err)
	}
	return newVerifier(r.source, r.indexes[number], r.Manifest.Payloads[number].Size), nil
}

// Verify reads all payloads, and that nothing follows them. It cannot be used together
// with Payload.
func (r *Reader) Verify() error {
	for i, p := range r.Manifest.Payloads {
		if _, err := io.Copy(io.Discard, newVerifier(r.source, r.indexes[i], p.Size)); err != nil {
			return err
		}
	}
	switch n, err := io.ReadFull(r.source, make([]byte, 1)); {
	case n > 0:
		return malformed("something follows its end")
	case err != io.EOF:
		return err
	}
	return nil
}

func skip(source io.Reader, n int64) error {
	if s, ok := source.(Skipper); ok {
		return s.Skip(n)
	}
	_, err := io.CopyN(io.Discard, source, n)
	return cut(err)
}
