package bundle

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// PEM blocks and their header, as docs/format/bundle.md has them.
const (
	publicBlock  = "PUBLIC KEY"
	privateBlock = "PRIVATE KEY"
	notAfter     = "Not-After"
)

// PublicKey is one that may sign bundles.
type PublicKey struct {
	Name     string    // for people; of a file, without its suffix
	NotAfter time.Time // when it expires; zero: never
	key      ed25519.PublicKey
	id       string
}

// ID gives the key's id: 64 hexadecimal digits.
func (k *PublicKey) ID() string { return k.id }

// KeyID serves the DSSE library.
func (k *PublicKey) KeyID() (string, error) { return k.id, nil }

// Public serves the DSSE library.
func (k *PublicKey) Public() crypto.PublicKey { return k.key }

// Verify tells whether the signature is of this key.
func (k *PublicKey) Verify(_ context.Context, data, signature []byte) error {
	if !ed25519.Verify(k.key, data, signature) {
		return errors.New("the signature is not of this key")
	}
	return nil
}

// ParsePublicKey reads the PEM text of a public key.
func ParsePublicKey(name string, text []byte) (*PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != publicBlock || strings.TrimSpace(string(rest)) != "" {
		return nil, fmt.Errorf("cannot read the public key %s: it is not one PEM block %q", name, publicBlock)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read the public key %s: %w", name, err)
	}
	key, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("cannot read the public key %s: it is not an Ed25519 key", name)
	}
	sum := sha256.Sum256(block.Bytes)
	k := &PublicKey{Name: name, key: key, id: hex.EncodeToString(sum[:])}
	if text, ok := block.Headers[notAfter]; ok {
		if k.NotAfter, err = time.Parse(time.RFC3339, text); err != nil {
			return nil, fmt.Errorf("cannot read the public key %s: its %s is not a date like 2030-01-31T00:00:00Z: %w", name, notAfter, err)
		}
	}
	return k, nil
}

// Keys are public keys, each once.
type Keys []*PublicKey

// ReadKeys reads all files *.pub of a directory. That there is no directory, or none in
// it, is not an error: then nobody is trusted. It is one when others than root and the
// caller could have put a key there.
func ReadKeys(directory string) (Keys, error) {
	entries, err := os.ReadDir(directory)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = checkOwn(directory)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the trusted keys: %w", err)
	}
	var keys Keys
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), ".pub")
		if !ok {
			continue
		}
		path := filepath.Join(directory, entry.Name())
		text, err := os.ReadFile(path)
		if err == nil {
			err = checkOwn(path)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read a trusted key: %w", err)
		}
		key, err := ParsePublicKey(name, text)
		if err != nil {
			return nil, err
		}
		// The same key under two names must not count twice.
		if !slices.ContainsFunc(keys, func(k *PublicKey) bool { return k.id == key.id }) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// checkOwn makes sure that nobody but root and the caller can write something.
func checkOwn(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to somebody else", path)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others can write to %s (mode %#o)", path, info.Mode().Perm())
	}
	return nil
}

// PrivateKey signs.
type PrivateKey struct {
	PublicKey
	private ed25519.PrivateKey
}

// Sign serves the DSSE library.
func (k *PrivateKey) Sign(_ context.Context, data []byte) ([]byte, error) {
	return ed25519.Sign(k.private, data), nil
}

// ParsePrivateKey reads the PEM text of a private key.
func ParsePrivateKey(name string, text []byte) (*PrivateKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != privateBlock || strings.TrimSpace(string(rest)) != "" {
		return nil, fmt.Errorf("cannot read the private key %s: it is not one PEM block %q", name, privateBlock)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read the private key %s: %w", name, err)
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("cannot read the private key %s: it is not an Ed25519 key", name)
	}
	return privateKey(name, private)
}

func privateKey(name string, private ed25519.PrivateKey) (*PrivateKey, error) {
	public := private.Public().(ed25519.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return &PrivateKey{PublicKey{Name: name, key: public, id: hex.EncodeToString(sum[:])}, private}, nil
}

// GenerateKey makes a new pair of keys.
func GenerateKey(name string) (*PrivateKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	return privateKey(name, private)
}

// PublicText gives the PEM text of the public key.
func (k *PublicKey) PublicText() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.key)
	if err != nil {
		return nil, err
	}
	block := &pem.Block{Type: publicBlock, Bytes: der}
	if !k.NotAfter.IsZero() {
		block.Headers = map[string]string{notAfter: k.NotAfter.UTC().Format(time.RFC3339)}
	}
	return pem.EncodeToMemory(block), nil
}

// PrivateText gives the PEM text of the private key.
func (k *PrivateKey) PrivateText() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der}), nil
}
