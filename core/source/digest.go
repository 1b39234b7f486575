package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
)

// DigestAhead gives the digest ("sha256:…") of the whole source without using it up,
// "" for one that can be read only once.
func (s *Source) DigestAhead(ctx context.Context) (string, error) {
	f, ok := s.ReadCloser.(*os.File)
	if !ok {
		return "", nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, &cancellable{ctx, io.NewSectionReader(f, 0, s.Size)}); err != nil {
		return "", s.readError(err)
	}
	return DigestText(hash.Sum(nil)), nil
}

// DigestText writes a SHA-256 sum as digests are written.
func DigestText(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }
