package bundle

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
)

// PieceSize is that of all pieces of a payload but the last.
const PieceSize = 1 << 20

// pieces gives how many pieces a payload of size bytes has.
func pieces(size int64) int64 { return (size + PieceSize - 1) / PieceSize }

// indexSize gives the bytes of a payload's index.
func (p *Payload) indexSize() int64 { return pieces(p.Size) * sha256.Size }

// ErrDamaged: some bytes are not those that were signed.
var ErrDamaged = fmt.Errorf("%w: it is damaged", ErrMalformed)

// readIndex reads the index of a payload, and makes sure that it is the one that the
// manifest names. Memory grows with what arrives.
func readIndex(r io.Reader, p *Payload) ([]byte, error) {
	var index bytes.Buffer
	if _, err := io.CopyN(&index, r, p.indexSize()); err != nil {
		return nil, cut(err)
	}
	if sha256.Sum256(index.Bytes()) != p.Index {
		return nil, fmt.Errorf("%w in an index", ErrDamaged)
	}
	return index.Bytes(), nil
}

// cut gives the error for bytes that did not come.
func cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return malformed("it ends too early")
	}
	return err
}

// verifier reads a payload from source and gives what was verified.
type verifier struct {
	source io.Reader
	index  []byte // of the pieces to come
	left   int64  // bytes of the payload to come
	at     int64  // offset of the piece at hand in the payload
	room   []byte
	piece  []byte // what was not read of the piece at hand
	fault  error
}

func newVerifier(source io.Reader, index []byte, size int64) *verifier {
	return &verifier{source: source, index: index, left: size, room: make([]byte, min(size, PieceSize))}
}

// Read gives verified bytes only.
func (v *verifier) Read(b []byte) (int, error) {
	if len(v.piece) == 0 && v.fault == nil {
		v.next()
	}
	if len(v.piece) == 0 {
		return 0, v.fault
	}
	n := copy(b, v.piece)
	v.piece = v.piece[n:]
	return n, nil
}

// next reads and verifies a piece.
func (v *verifier) next() {
	if v.left == 0 {
		v.fault = io.EOF
		return
	}
	piece := v.room[:min(v.left, PieceSize)]
	if _, err := io.ReadFull(v.source, piece); err != nil {
		v.fault = cut(err)
		return
	}
	sum := sha256.Sum256(piece)
	if !bytes.Equal(sum[:], v.index[:sha256.Size]) {
		v.fault = fmt.Errorf("%w within bytes %d to %d of a payload", ErrDamaged, v.at, v.at+int64(len(piece)))
		return
	}
	v.index = v.index[sha256.Size:]
	v.left -= int64(len(piece))
	v.at += int64(len(piece))
	v.piece = piece
}
