package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Write writes a bundle of the payloads, each read twice from its beginning. Size and
// Index of the manifest's payloads are filled in. Without signers it is a bundle that
// nobody accepts, until it is signed.
func Write(ctx context.Context, w io.Writer, m *Manifest, payloads []io.ReadSeeker, signers ...*PrivateKey) error {
	if len(payloads) != len(m.Payloads) {
		return fmt.Errorf("the manifest has %d payloads, and there are %d", len(m.Payloads), len(payloads))
	}
	indexes := make([][]byte, len(payloads))
	for i, p := range payloads {
		var err error
		if indexes[i], m.Payloads[i].Size, err = makeIndex(p); err != nil {
			return fmt.Errorf("cannot read a payload: %w", err)
		}
		m.Payloads[i].Index = sha256.Sum256(indexes[i])
	}
	envelope, err := sealManifest(m)
	if err != nil {
		return err
	}
	message, err := toSign(envelope)
	if err != nil {
		return err
	}
	for _, key := range signers {
		signature, err := key.Sign(ctx, message)
		if err != nil {
			return err
		}
		if err := addSignature(envelope, &key.PublicKey, signature); err != nil {
			return err
		}
	}
	if err := writeHead(w, envelope); err != nil {
		return err
	}
	for _, index := range indexes {
		if _, err := w.Write(index); err != nil {
			return err
		}
	}
	for i, p := range payloads {
		if err := copyWhole(w, p, m.Payloads[i].Size); err != nil {
			return err
		}
	}
	return nil
}

// makeIndex reads a payload and gives its index and size.
func makeIndex(payload io.ReadSeeker) (index []byte, size int64, err error) {
	if _, err := payload.Seek(0, io.SeekStart); err != nil {
		return nil, 0, err
	}
	piece := make([]byte, PieceSize)
	for {
		n, err := io.ReadFull(payload, piece)
		if n > 0 {
			sum := sha256.Sum256(piece[:n])
			index, size = append(index, sum[:]...), size+int64(n)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return index, size, nil
		default:
			return nil, 0, err
		}
	}
}

func copyWhole(w io.Writer, payload io.ReadSeeker, size int64) error {
	if _, err := payload.Seek(0, io.SeekStart); err != nil {
		return err
	}
	n, err := io.Copy(w, payload)
	if err == nil && n != size {
		err = errors.New("a payload changed while it was read")
	}
	return err
}

func writeHead(w io.Writer, envelope *dsse.Envelope) error {
	text, err := json.Marshal(envelope)
	if err != nil {
		return err
	}
	if len(text) > maxEnvelope {
		return fmt.Errorf("the manifest is too long: its envelope has %d bytes, and at most %d can be", len(text), maxEnvelope)
	}
	_, err = w.Write(append(binary.AppendUvarint([]byte(Magic), uint64(len(text))), text...))
	return err
}

// ToSign gives the bytes that a signature of the bundle in source is of, for a key that
// is elsewhere.
func ToSign(source io.Reader) ([]byte, error) {
	envelope, err := readEnvelope(source)
	if err != nil {
		return nil, err
	}
	return toSign(envelope)
}

// Sign copies a bundle and adds a signature of this key, made with ToSign, or replaces
// the one that it has.
func Sign(w io.Writer, source io.Reader, key *PublicKey, signature []byte) error {
	envelope, err := readEnvelope(source)
	if err != nil {
		return err
	}
	if err := addSignature(envelope, key, signature); err != nil {
		return err
	}
	if err := writeHead(w, envelope); err != nil {
		return err
	}
	_, err = io.Copy(w, source)
	return err
}
